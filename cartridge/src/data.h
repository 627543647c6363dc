/* What the generated data banks offer the engine. generate.py writes the definitions.
 *
 * The small tables live together in DATA_BANK, so that the engine finds everything else from there; the big things
 * (tiles, cells, texts, pictures) live in any bank named by the table that points at them.
 */
#ifndef DATA_H
#define DATA_H
#include "format.h"

#define DATA_BANK 0x20

/* 16-byte tiles, shown as background tiles 0.. (tileset) while the map is on the screen. Tile ids 0x00-0x7F. */
typedef struct {
  u8 bank;
  u8 n_tiles;
  const u8 *tiles;      /* n_tiles * 16 bytes */
  u8 n_metatiles;
  const u8 *metatiles;  /* in DATA_BANK: n_metatiles * 4 tile ids TL TR BL BR */
  const u8 *attributes; /* in DATA_BANK: n_metatiles MT_* bytes */
  u8 cut_metatile;      /* what a cut tree becomes */
} Tileset;

/* A figure of 16x16 px: 24 tiles = {down, up, left standing; down, up, left walking} x {TL TR BL BR}; right is
 * left mirrored. Still things (balls, boulders) have 4 tiles. All pictures of a map together with the player's must
 * fit in 124 tiles (player 24; so four walking figures and a ball). Colour 0 is transparent, 1 white, 2 dark grey, 3 black. */
typedef struct {
  u8 bank;
  u8 n_tiles; /* 24 or 4 */
  const u8 *tiles;
} Picture;

typedef struct {
  u8 bank;
  const u8 *front; /* 25 tiles of 16 bytes, row by row; 0 = none */
  const u8 *back;
} CreaturePicture;

typedef struct { u8 map, x, y, facing; } Place;

typedef struct {
  u8 bank;
  u8 n_tiles;      /* at most 128, shown as tiles 0x00.. */
  const u8 *tiles;
  const u8 *cells; /* 20 * 18 tile ids; the engine prints PRESS START below */
} TitleScreen;

#define PICTURE_PLAYER 1 /* index in picture_table */

/* all in DATA_BANK */
extern const u8 map_bank[256];
extern const MapHeader *const map_header[256];
extern const u8 text_bank[];
extern const char *const text_ptr[];
extern const Tileset tileset_table[24];
extern const Picture picture_table[];
extern const CreaturePicture creature_picture_table[256];
extern const u8 font_tiles[128 * 16]; /* tiles 0x80-0xFF: 0x80-0x9F frames and signs (UI_TILE_*), 0xA0-0xFF = ASCII 0x20-0x7F */
extern const u8 exclamation_tiles[4 * 16]; /* the balloon over a trainer's head */
extern const TitleScreen title_screen;
extern const Place start_place;
extern const Place town_place[12]; /* index wLastBlackoutMap 0..11: where a blackout ends (map 0xFF = not in the game) */
extern const u16 intro_texts[4];   /* said 0, 1, then a menu of three lines (intro_choices), then 2, 3 */
extern const char intro_choices[3][13]; /* entry 0 goes on; any other asks again */

/* tile ids of the frame and signs in the font */
enum {
  UI_TILE_TL = 0x80, UI_TILE_H = 0x81, UI_TILE_TR = 0x82, UI_TILE_V = 0x83, UI_TILE_BL = 0x84, UI_TILE_BR = 0x85,
  UI_TILE_CURSOR = 0x86,  /* > */
  UI_TILE_MORE = 0x87,    /* small triangle downwards: press A */
  UI_TILE_BAR_0 = 0x88,   /* 0x88-0x90: HP bar piece with 0..8 px filled */
  UI_TILE_BAR_LEFT = 0x91, UI_TILE_BAR_RIGHT = 0x92, UI_TILE_LEVEL = 0x93, /* ":L" */
  UI_TILE_BALL = 0x94, UI_TILE_BADGE = 0x95, UI_TILE_NO_BADGE = 0x96, UI_TILE_CURSOR_OFF = 0x97, /* hollow > */
  UI_TILE_BLANK = 0xA0    /* space */
};

#endif
