/* What the data generator writes and the engine reads. One source for both: generate.py reads the enums below.
 *
 * Every map lives whole in one bank (pointers in a MapHeader are valid while that bank is mapped at 0x4000);
 * `map_bank[id]` and `map_header[id]` (256 entries each, bank 0 = no such map) find it. Texts are C strings, one table
 * `text_bank[]`/`text_ptr[]` indexed by text id. Cells are 16x16 px metatiles: four 8x8 tile ids (TL TR BL BR) and an
 * attribute byte per metatile of the tileset.
 */
#ifndef FORMAT_H
#define FORMAT_H

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned int u16;
typedef signed int i16;
typedef unsigned long u32;

/* metatile attributes */
enum { MT_WALK = 0, MT_SOLID = 1, MT_GRASS = 2, MT_LEDGE_DOWN = 3, MT_LEDGE_LEFT = 4, MT_LEDGE_RIGHT = 5,
       MT_DOOR = 6, MT_TREE = 7, MT_WATER = 8, MT_COUNTER = 9 };
/* directions are the values of wSpritePlayerStateData1FacingDirection */
enum { DIR_DOWN = 0, DIR_UP = 4, DIR_LEFT = 8, DIR_RIGHT = 12 };
enum { MOVE_STAND = 0, MOVE_WANDER = 1, MOVE_TURN = 2 };

typedef struct { u8 dir; u8 map; i8 offset; } Connection;   /* offset: cells added to the coordinate along the edge */
typedef struct { u8 x, y, dest_map, dest_warp; } Warp;       /* dest_warp: index in the destination's warps; you arrive on it */
typedef struct { u8 x, y; const u8 *script; } Sign;          /* wHiddenObjectIndex/text id = index + 1 + number of people */
typedef struct {
  u8 x, y, picture, facing, movement, range; /* range: cells it may wander from x,y */
  u8 sight;                                  /* cells of a trainer's line of sight, 0 = none */
  u8 missable;                               /* bit in wMissableObjectFlags that hides it when set; 255 = always there */
  const u8 *script;                          /* run when talked to, or when a trainer sees the player */
  u16 beaten_event;                          /* trainers: event index set after the battle; 0xFFFF = not a trainer */
} Person;
typedef struct { u8 x, y; u8 item; u16 event; } Hidden;      /* event set when found */
typedef struct { u8 x, y; const u8 *script; } Trigger;       /* run when the player steps here (gates, story) */
typedef struct { u8 level, species; } Encounter;

typedef struct {
  u8 id, tileset, width, height;   /* in cells */
  const u8 *cells;                 /* width*height metatile ids, row by row */
  u8 border;                       /* metatile outside the map */
  u8 outdoor;                      /* 1: becomes wLastBlackoutMap's candidate, may have connections */
  u8 n_connections; const Connection *connections;
  u8 n_warps; const Warp *warps;
  u8 n_people; const Person *people;     /* at most 12 */
  u8 n_signs; const Sign *signs;
  u8 n_hidden; const Hidden *hidden;
  u8 n_triggers; const Trigger *triggers;
  u8 encounter_rate;               /* of 256 a step in grass (or every cell of a cave when tileset is CAVERN) */
  const Encounter *encounters;     /* 10 slots */
} MapHeader;

/* Script bytecode: one opcode byte, then operands. u16 little-endian. `rel` = u16 offset from the script's start. */
enum {
  OP_END = 0,
  OP_SAY = 1,           /* u16 text */
  OP_ASK = 2,           /* u16 text, u16 rel: yes/no box, jump when NO */
  OP_JUMP = 3,          /* u16 rel */
  OP_IF_EVENT = 4,      /* u16 event, u16 rel: jump when set */
  OP_IF_NO_EVENT = 5,   /* u16 event, u16 rel: jump when clear */
  OP_SET_EVENT = 6,     /* u16 event */
  OP_CLEAR_EVENT = 7,   /* u16 event */
  OP_IF_ITEM = 8,       /* u8 item, u16 rel: jump when in the bag */
  OP_GIVE_ITEM = 9,     /* u8 item, u8 quantity, u16 rel: jump when the bag is full */
  OP_TAKE_ITEM = 10,    /* u8 item */
  OP_IF_BADGE = 11,     /* u8 badge 0..7, u16 rel: jump when held */
  OP_GIVE_BADGE = 12,   /* u8 badge */
  OP_BATTLE = 13,       /* u8 trainer: on defeat the player blacks out and the script ends */
  OP_HEAL = 14,         /* party healed, blackout map set to the town outside, hooks passed */
  OP_SHOP = 15,         /* u8 shop */
  OP_HIDE = 16,         /* u8 missable bit: set it, people with it vanish */
  OP_SHOW = 17,         /* u8 missable bit: clear it */
  OP_PUSH = 18,         /* u8 dir, u8 cells: the player is walked (gates) */
  OP_FACE_PLAYER = 19,  /* the person talked to turns to the player */
  OP_GIVE_MON = 20,     /* u8 species, u8 level */
  OP_GIVE_MONEY = 21,   /* u16 amount */
  OP_WARP = 22,         /* u8 map, u8 x, u8 y */
  OP_POKE = 23,         /* u16 address, u8 value: story bytes of the RAM map */
  OP_OR = 24,           /* u16 address, u8 mask */
};

/* UI state, for scripted players: written at 0xCD81.. (free RAM of the map) */
enum { UI_OVERWORLD = 0, UI_BUSY = 1, UI_TEXT = 2, UI_MENU = 3 };  /* wUiState; BUSY = animation, no input is read */
enum { MENU_NONE = 0, MENU_TITLE = 1, MENU_INTRO = 2, MENU_START = 3, MENU_PARTY = 4, MENU_PARTY_ACTION = 5,
       MENU_STATS = 6, MENU_BAG = 7, MENU_BAG_ACTION = 8, MENU_YESNO = 9, MENU_SHOP = 10, MENU_SHOP_BUY = 11,
       MENU_BATTLE = 12, MENU_MOVES = 13, MENU_BATTLE_BAG = 14, MENU_SWITCH = 15, MENU_LEARN = 16, MENU_SAVE = 17,
       MENU_TARGET = 18 /* choose a party member for an item */, MENU_QUANTITY = 19 };

#endif
