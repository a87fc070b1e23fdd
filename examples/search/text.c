/*
 * text.c: the table of letters: ASCII letters without case, digits, the underscore, and all bytes of UTF-8
 * beyond ASCII.
 */
#include "text.h"

#include <stdbool.h>

unsigned char text_letters[256];

void text_init(void)
{
    for (int byte = 0; byte < 256; byte++) {
        bool letter =
            (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '_' || byte >= 0x80;
        text_letters[byte] = (unsigned char)(letter ? byte : 0);
    }
    for (int byte = 'A'; byte <= 'Z'; byte++) {
        text_letters[byte] = (unsigned char)(byte - 'A' + 'a');
    }
}
