/* sizeclass.c: the tables of sizeclass.h. test_sizeclass.c derives both anew from the rule and compares. */
#include "sizeclass.h"

const uint16_t sizeclass_bytes[CLASSES + 1] = {
    0, 8, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160,
    176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448,
    480, 512, 576, 640, 704, 768, 832, 896, 960, 1024, 1152, 1280,
    1408, 1536, 1664, 1792, 1920, 2048, 2304, 2560, 2816, 3072, 3328, 3584,
    3840, 4096, 4608, 5120, 5632, 6144, 6656, 7168, 7680, 8192, 9216, 10240,
    11264, 12288, 13312, 14336, 15360, 16384, 18432, 20480, 22528, 24576, 26624, 28672,
    30720, 32768,
};

/* COUNT requests of one class. */
#define X1(c) c,
#define X8(c) c, c, c, c, c, c, c, c,
#define X16(c) X8(c) X8(c)
#define X32(c) X16(c) X16(c)
#define X64(c) X32(c) X32(c)


const uint8_t sizeclass_small[SLAB_MAX + 1] = {
    X1(1) X8(1) X8(2)
    X16(3) X16(4) X16(5) X16(6) X16(7) X16(8) X16(9) X16(10) X16(11) X16(12) X16(13) X16(14)
    X16(15) X16(16) X16(17) X32(18) X32(19) X32(20) X32(21) X32(22) X32(23) X32(24) X32(25)
    X64(26) X64(27) X64(28) X64(29) X64(30) X64(31) X64(32) X64(33)
};
