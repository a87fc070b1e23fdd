/*
 * text.h: what a word is, in files as in queries: a run of letters, of MIN_WORD to MAX_WORD bytes.
 * The shorter and longer ones are not indexed, but have their place in the text.
 */
#ifndef TEXT_H
#define TEXT_H

enum {
    MIN_WORD = 2,
    MAX_WORD = 64 /* bytes; longer ones are base64 and the like, and left out */
};

/* What letters count as when words are compared; 0: they end a word. Bytes of UTF-8 stay as they are. */
extern unsigned char text_letters[256];

/* Before the first use of the table, and before any thread starts. */
void text_init(void);

#endif
