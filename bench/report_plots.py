"""The pictures of bench/report: two kinds, drawn by gnuplot as SVG. Colours and order of allocators are the same in all.
"""
import shutil
import subprocess

COLOURS = {"ours": "#1b4fd8", "ours.so": "#7fa3f5", "ours in an arena": "#7fa3f5", "malloc": "#1b4fd8", "arena": "#7fa3f5",
           "glibc": "#777777", "jemalloc": "#e08a00", "mimalloc": "#00936b", "tcmalloc": "#c0569b", "tbb": "#8a6a2f",
           "rpmalloc": "#3fa7d6", "snmalloc": "#d1495b", "touch": "#000000"}
EDGE = 16  # the largest ratio that is drawn
OTHERS = ["#556b2f", "#9932cc", "#2f8f8f", "#b5651d"]
HEAD = """set terminal svg size {width},{height} dynamic font 'DejaVu Sans,Verdana,sans-serif,12' name '{name}' noenhanced
set border 3 linecolor '#999999'
set tics nomirror textcolor '#333333'
set grid {grid} linetype 1 linecolor '#e4e4e4'
set key {key} textcolor '#222222'
"""


def available():
    return shutil.which("gnuplot") is not None


def colour(name, names):
    unknown = [one for one in names if one not in COLOURS]
    return COLOURS[name] if name in COLOURS else OTHERS[unknown.index(name) % len(OTHERS)]


def is_ours(name):
    return name in ("ours", "malloc")


def draw(script):
    done = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or "</svg>" not in done.stdout:
        raise RuntimeError("gnuplot: " + done.stderr.strip())
    return done.stdout[done.stdout.index("<svg"):]


def block(number, lines):
    """Data that the script holds itself."""
    return "$d%d << EOD\n%s\nEOD\n" % (number, "\n".join(lines))


def ours_last(series):
    """Drawn above the others."""
    return sorted(series, key=is_ours)


def dots(name, series, label):
    """A line for each row, a dot for each allocator: {allocator: {row: (middle, low, high)}}. Ours with its range.
    What is beyond the edge stands at it."""
    rows = list(dict.fromkeys(row for values in series.values() for row in values))
    names = ours_last(series)
    script = HEAD.format(name=name, width=1000, height=110 + 20 * len(rows), grid="xtics ytics", key="top outside center horizontal")
    for number, one in enumerate(names):
        script += block(number, ["%d %g %g %g" % (rows.index(row), *(min(value, EDGE) for value in values))
                                 for row, values in series[one].items()])
    middles = [values[0] for by_row in series.values() for values in by_row.values()]
    script += "set ytics (%s)\nset yrange [%d:-1]\n" % (", ".join("'%s' %d" % (row, i) for i, row in enumerate(rows)), len(rows))
    low, high = min(middles), min(max(middles), EDGE)
    margin = (high / low) ** 0.05
    if high / low > 4:
        label += " (log scale)"
        script += "set logscale x 2\nset format x '%.2g'\n"
    script += "set xrange [%g:%g]\n" % (min(low / margin, 0.99), max(high * margin, 1.01))
    script += "set arrow from 1,graph 0 to 1,graph 1 nohead linecolor '#777777' linewidth 1.5\n"
    script += "set xlabel '%s' textcolor '#333333'\n" % label
    parts = []
    for number, one in enumerate(names):
        paint = "linecolor '%s'" % colour(one, names)
        if is_ours(one):
            parts.append("$d%d using 3:1:($4-$3):(0) with vectors nohead linewidth 3 %s notitle" % (number, paint))
        parts.append("$d%d using 2:1 with points pointtype 7 pointsize %g %s title '%s'"
                     % (number, 0.9 if is_ours(one) else 0.55, paint, one))
    return draw(script + "plot " + ", \\\n".join(parts) + "\n")


def curves(name, series, label, value_label, logarithmic="xy", base=10):
    """{allocator: [(x, middle)]}; an x that is text stands where it comes in the list."""
    names = ours_last(series)
    texts = list(dict.fromkeys(x for values in series.values() for x, _ in values if isinstance(x, str)))
    script = HEAD.format(name=name, width=560, height=380, grid="xtics ytics", key="top outside center horizontal maxrows 3")
    for number, one in enumerate(names):
        script += block(number, ["%g %g" % (texts.index(x) if x in texts else x, value) for x, value in series[one]])
    if not texts:
        xs = [x for values in series.values() for x, _ in values]
        script += "set xrange [%g:%g]\n" % (min(xs), max(xs))
    if "x" in logarithmic:
        script += "set logscale x %d\n" % base
        script += "set format x '%.0s%c'\n"
    if "y" in logarithmic:
        script += "set logscale y\nset format y '%.0s%c'\n"
    else:
        script += "set yrange [0:*]\n"
    if texts:
        script += "set xtics (%s)\nset xrange [-0.3:%g]\n" % (", ".join("'%s' %d" % (x, i) for i, x in enumerate(texts)),
                                                             len(texts) - 0.7)
    script += "set xlabel '%s' textcolor '#333333'\nset ylabel '%s' textcolor '#333333'\n" % (label, value_label)
    parts = ["$d%d using 1:2 with linespoints pointtype 7 pointsize %g linewidth %g dashtype %d linecolor '%s' title '%s'"
             % (number, 0.6 if is_ours(one) else 0.4, 3 if is_ours(one) else 1.5, 2 if one == "touch" else 1,
                colour(one, names), one) for number, one in enumerate(names)]
    return draw(script + "plot " + ", \\\n".join(parts) + "\n")
