/*
 * rangemap.c: see rangemap.h. A trie of 64 ways. Rejected: flat bit arrays, of which a sparse terabyte would
 * need gigabytes; a hash of boundaries, which answers neither "what begins behind here" nor "what is this
 * inside of".
 */
#include "rangemap.h"

#include "rangemeta.h"

#include <string.h>

enum { FAN = 1 << RANGE_FAN_LOG2, MOST_LEVELS = 9 };

/* Bits of an index below a node of `level`; 0: a leaf. */
static unsigned bits_below(unsigned level)
{
    return RANGE_LEAF_LOG2 + RANGE_FAN_LOG2 * level;
}

static bool covers(const range_map_t *map, uint64_t index)
{
    unsigned bits = bits_below(map->levels);
    return map->root != NULL && (bits >= 64 || index >> bits == 0);
}

static unsigned digit(uint64_t index, unsigned level)
{
    return (unsigned)(index >> bits_below(level - 1)) & (FAN - 1);
}

static range_leaf_t *leaf_of(const arena_range_t *range, uint64_t index)
{
    void *node = covers(&range->map, index) ? range->map.root : NULL;
    for (unsigned level = range->map.levels; level > 0 && node != NULL; level--) {
        node = ((range_node_t *)node)->child[digit(index, level)];
    }
    return node;
}

/* Puts a new root above until `index` is covered. */
static bool raise_root(arena_range_t *range, uint64_t index)
{
    range_map_t *map = &range->map;
    if (map->root == NULL) {
        map->levels = 0;
        while (bits_below(map->levels) < 64 && index >> bits_below(map->levels) != 0) {
            map->levels++;
        }
        map->root = rangemeta_get_locked(range, map->levels == 0 ? RANGE_OBJECT_LEAF : RANGE_OBJECT_NODE);
        return map->root != NULL;
    }
    while (!covers(map, index)) {
        range_node_t *root = rangemeta_get_locked(range, RANGE_OBJECT_NODE);
        if (root == NULL) {
            return false;
        }
        uint64_t below = *(uint64_t *)map->root; /* `any` comes first in both */
        root->any = below != 0;
        root->children = 1;
        root->child[0] = map->root;
        map->root = root;
        map->levels++;
    }
    return true;
}

static bool make_leaf(arena_range_t *range, uint64_t index)
{
    if (!covers(&range->map, index) && !raise_root(range, index)) {
        return false;
    }
    range_node_t *node = range->map.root;
    for (unsigned level = range->map.levels; level > 0; level--) {
        void **child = &node->child[digit(index, level)];
        if (*child == NULL) {
            *child = rangemeta_get_locked(range, level == 1 ? RANGE_OBJECT_LEAF : RANGE_OBJECT_NODE);
            if (*child == NULL) {
                return false;
            }
            node->children++;
        }
        node = *child;
    }
    return true;
}

/* Frees the node path[level], which has no children, and each above that is left without any. */
static void drop_node(arena_range_t *range, uint64_t index, range_node_t **path, unsigned level)
{
    while (path[level]->children == 0) {
        rangemeta_put_locked(range, RANGE_OBJECT_NODE, path[level]);
        if (level == range->map.levels) {
            range->map.root = NULL;
            return;
        }
        level++;
        path[level]->child[digit(index, level)] = NULL;
        path[level]->children--;
    }
}

/* Frees a leaf without marks, and what that leaves empty. */
static void drop_empty(arena_range_t *range, uint64_t index, range_node_t **path, range_leaf_t *leaf)
{
    rangemeta_put_locked(range, RANGE_OBJECT_LEAF, leaf);
    if (range->map.levels == 0) {
        range->map.root = NULL;
        return;
    }
    path[1]->child[digit(index, 1)] = NULL;
    path[1]->children--;
    drop_node(range, index, path, 1);
}

void rangemap_prune(arena_range_t *range, uint64_t index)
{
    range_map_t *map = &range->map;
    range_node_t *path[MOST_LEVELS + 1];
    void *node = covers(map, index) && !range->inside ? map->root : NULL;
    unsigned level = map->levels;
    for (; level > 0 && node != NULL; level--) {
        path[level] = node;
        node = path[level]->child[digit(index, level)];
    }
    if (node != NULL && *(uint64_t *)node == 0) { /* `any` comes first */
        drop_empty(range, index, path, node);
    } else if (node == NULL && level < map->levels && path[level + 1]->children == 0) {
        drop_node(range, index, path, level + 1);
    }
}

bool rangemap_ensure(arena_range_t *range, uint64_t index)
{
    bool made = make_leaf(range, index);
    if (!made) {
        rangemap_prune(range, index);
    }
    return made;
}

static unsigned word_of(uint64_t index)
{
    return (unsigned)(index >> RANGE_FAN_LOG2) & (FAN - 1);
}

range_mark_t rangemap_get(const arena_range_t *range, uint64_t index)
{
    const range_leaf_t *leaf = leaf_of(range, index);
    if (leaf == NULL) {
        return RANGE_INSIDE;
    }
    unsigned word = word_of(index), bit = (unsigned)index & 63;
    return (range_mark_t)((leaf->start[word] >> bit & 1) | (leaf->use[word] >> bit & 1) << 1);
}

void rangemap_set(arena_range_t *range, uint64_t index, range_mark_t mark)
{
    range_node_t *path[MOST_LEVELS + 1];
    void *node = range->map.root;
    for (unsigned level = range->map.levels; level > 0; level--) {
        path[level] = node;
        node = path[level]->child[digit(index, level)];
    }
    range_leaf_t *leaf = node;
    unsigned word = word_of(index);
    uint64_t bit = (uint64_t)1 << (index & 63);
    leaf->start[word] = (leaf->start[word] & ~bit) | ((mark & 1) != 0 ? bit : 0);
    leaf->use[word] = (leaf->use[word] & ~bit) | ((mark & 2) != 0 ? bit : 0);
    uint64_t word_bit = (uint64_t)1 << word;
    leaf->any = (leaf->any & ~word_bit) | ((leaf->start[word] | leaf->use[word]) != 0 ? word_bit : 0);
    bool any = leaf->any != 0;
    for (unsigned level = 1; level <= range->map.levels; level++) {
        uint64_t child = (uint64_t)1 << digit(index, level);
        path[level]->any = (path[level]->any & ~child) | (any ? child : 0);
        any = path[level]->any != 0;
    }
    if (leaf->any == 0 && !range->inside) {
        drop_empty(range, index, path, leaf);
    }
}

static uint64_t marks_of(const range_leaf_t *leaf, unsigned word)
{
    return leaf->start[word] | leaf->use[word];
}

/* The first mark of a leaf from `from` up. */
static uint64_t next_in_leaf(const range_leaf_t *leaf, uint64_t from)
{
    unsigned word = word_of(from);
    uint64_t bits = marks_of(leaf, word) & bits_from((unsigned)from & 63);
    if (bits == 0) {
        uint64_t words = leaf->any & bits_from(word + 1);
        if (words == 0) {
            return RANGE_NOWHERE;
        }
        word = lowest_bit(words);
        bits = marks_of(leaf, word);
    }
    return (uint64_t)word << RANGE_FAN_LOG2 | lowest_bit(bits);
}

static uint64_t last_in_leaf(const range_leaf_t *leaf, uint64_t from)
{
    unsigned word = word_of(from);
    uint64_t bits = marks_of(leaf, word) & ~bits_from(((unsigned)from & 63) + 1);
    if (bits == 0) {
        uint64_t words = leaf->any & ~bits_from(word);
        if (words == 0) {
            return RANGE_NOWHERE;
        }
        word = floor_log2(words);
        bits = marks_of(leaf, word);
    }
    return (uint64_t)word << RANGE_FAN_LOG2 | floor_log2(bits);
}

/* `from` and the answer count from where the node begins. Recursion is as deep as the map has levels. */
static uint64_t next_in(const void *place, unsigned level, uint64_t from)
{
    if (level == 0) {
        return next_in_leaf(place, from);
    }
    const range_node_t *node = place;
    unsigned shift = bits_below(level - 1), child = digit(from, level);
    if ((node->any >> child & 1) != 0) {
        uint64_t found = next_in(node->child[child], level - 1, from & (((uint64_t)1 << shift) - 1));
        if (found != RANGE_NOWHERE) {
            return (uint64_t)child << shift | found;
        }
    }
    uint64_t others = node->any & bits_from(child + 1);
    if (others == 0) {
        return RANGE_NOWHERE;
    }
    child = lowest_bit(others);
    return (uint64_t)child << shift | next_in(node->child[child], level - 1, 0);
}

static uint64_t last_in(const void *place, unsigned level, uint64_t from)
{
    if (level == 0) {
        return last_in_leaf(place, from);
    }
    const range_node_t *node = place;
    unsigned shift = bits_below(level - 1), child = digit(from, level);
    uint64_t below = ((uint64_t)1 << shift) - 1;
    if ((node->any >> child & 1) != 0) {
        uint64_t found = last_in(node->child[child], level - 1, from & below);
        if (found != RANGE_NOWHERE) {
            return (uint64_t)child << shift | found;
        }
    }
    uint64_t others = node->any & ~bits_from(child);
    if (others == 0) {
        return RANGE_NOWHERE;
    }
    child = floor_log2(others);
    return (uint64_t)child << shift | last_in(node->child[child], level - 1, below);
}

uint64_t rangemap_next(const arena_range_t *range, uint64_t index)
{
    const range_map_t *map = &range->map;
    return covers(map, index + 1) ? next_in(map->root, map->levels, index + 1) : RANGE_NOWHERE;
}

uint64_t rangemap_last(const arena_range_t *range, uint64_t index)
{
    const range_map_t *map = &range->map;
    if (map->root == NULL) {
        return RANGE_NOWHERE;
    }
    if (!covers(map, index)) {
        index = ((uint64_t)1 << bits_below(map->levels)) - 1;
    }
    return last_in(map->root, map->levels, index);
}

bool rangemap_in_hole(const arena_range_t *range, uint64_t index)
{
    uint64_t last = rangemap_last(range, index);
    return last == RANGE_NOWHERE || rangemap_get(range, last) == RANGE_HOLE;
}

static range_run_t **list_of(const arena_range_t *range, uint64_t index)
{
    range_leaf_t *leaf = leaf_of(range, index);
    unsigned list = (unsigned)(index >> RANGE_LIST_LOG2) & ((1u << (RANGE_LEAF_LOG2 - RANGE_LIST_LOG2)) - 1);
    return leaf == NULL ? NULL : &leaf->runs[list];
}

range_run_t *rangemap_run(const arena_range_t *range, uint64_t index)
{
    range_run_t **list = list_of(range, index);
    range_run_t *run = list == NULL ? NULL : *list;
    while (run != NULL && run->start != index) {
        run = run->beside;
    }
    return run;
}

void rangemap_add_run(arena_range_t *range, range_run_t *run)
{
    range_run_t **list = list_of(range, run->start);
    run->beside = *list;
    *list = run;
}

static range_run_t **link_to(arena_range_t *range, range_run_t *run)
{
    range_run_t **link = list_of(range, run->start);
    while (*link != run) {
        link = &(*link)->beside;
    }
    return link;
}

void rangemap_remove_run(arena_range_t *range, range_run_t *run)
{
    *link_to(range, run) = run->beside;
}

void rangemap_move_run(arena_range_t *range, range_run_t *from, range_run_t *to)
{
    *link_to(range, from) = to;
}

uint64_t rangemap_nodes(uint64_t leaves)
{
    uint64_t nodes = 0;
    for (uint64_t level = leaves; level > 1;) {
        level = (level + FAN - 1) >> RANGE_FAN_LOG2;
        nodes += level;
    }
    return nodes;
}

/* The parents of `count` things of `bytes` each; answers how many they are. */
static uint64_t build_level(range_node_t *nodes, void *below, uint64_t count, size_t bytes)
{
    uint64_t parents = (count + FAN - 1) >> RANGE_FAN_LOG2;
    memset(nodes, 0, (size_t)parents * sizeof *nodes);
    for (uint64_t i = 0; i < count; i++) {
        void *child = at(below, (size_t)i * bytes);
        range_node_t *node = &nodes[i >> RANGE_FAN_LOG2];
        uint64_t any = *(uint64_t *)child; /* `any` comes first in both */
        node->child[i & (FAN - 1)] = child;
        node->children++;
        node->any |= any != 0 ? (uint64_t)1 << (i & (FAN - 1)) : 0;
    }
    return parents;
}

void rangemap_build(arena_range_t *range, range_leaf_t *leaves, uint64_t count, range_node_t *nodes)
{
    range->map = (range_map_t){leaves, 0};
    size_t bytes = sizeof *leaves;
    while (count > 1) {
        count = build_level(nodes, range->map.root, count, bytes);
        range->map.root = nodes;
        range->map.levels++;
        nodes += count;
        bytes = sizeof *nodes;
    }
}

static void clear_below(arena_range_t *range, void *place, unsigned level)
{
    if (level == 0) {
        rangemeta_put_locked(range, RANGE_OBJECT_LEAF, place);
        return;
    }
    range_node_t *node = place;
    for (unsigned child = 0; child < FAN; child++) {
        if (node->child[child] != NULL) {
            clear_below(range, node->child[child], level - 1);
        }
    }
    rangemeta_put_locked(range, RANGE_OBJECT_NODE, node);
}

void rangemap_clear(arena_range_t *range)
{
    if (range->map.root != NULL) {
        clear_below(range, range->map.root, range->map.levels);
    }
    range->map = (range_map_t){0};
}

static bool leaf_is_sound(const range_leaf_t *leaf)
{
    for (unsigned word = 0; word < FAN; word++) {
        if ((marks_of(leaf, word) != 0) != ((leaf->any >> word & 1) != 0)) {
            return false;
        }
    }
    return true;
}

static bool is_sound(const void *place, unsigned level)
{
    if (level == 0) {
        return leaf_is_sound(place);
    }
    const range_node_t *node = place;
    size_t children = 0;
    for (unsigned child = 0; child < FAN; child++) {
        const void *below = node->child[child];
        bool any = below != NULL && *(const uint64_t *)below != 0; /* `any` comes first in both */
        if (any != ((node->any >> child & 1) != 0) || (below != NULL && !is_sound(below, level - 1))) {
            return false;
        }
        children += below != NULL;
    }
    return children == node->children;
}

bool rangemap_is_sound(const arena_range_t *range)
{
    return range->map.root == NULL || is_sound(range->map.root, range->map.levels);
}
