/* The RAM map: every symbol of the original's map that the cartridge keeps true, at its address, and the few of our own.
 *
 * Free for our own use: C508-CC23 (statics of the C files are linked to C6E8..CBFB), CD81-CEE8, DA81-DEE1 as long as
 * DA80 stays 0, and the stack below DFFF. Stores to __at(0xFFxx) are miscompiled by sdcc 4.2.0: use pointers.
 */
#ifndef RAM_H
#define RAM_H
#include "format.h"

/* ---- figures on the map: 16 slots of 16 bytes twice, slot 0 is the player ---- */
typedef struct {
  u8 picture, status, image, step_y, screen_y, step_x, screen_x, walk, animation, facing, unused[6];
} SpriteState1;
typedef struct {
  u8 unused0[4], map_y, map_x, movement, unused1, delay, unused2[5], image_base, unused3;
} SpriteState2;
SpriteState1 __at(0xC100) sprite1[16];
SpriteState2 __at(0xC200) sprite2[16];
u8 __at(0xC300) oam[160];
u8 __at(0xC3A0) wTileMap[360];

/* ---- menus ---- */
volatile u8 __at(0xCC26) wCurrentMenuItem;
volatile u8 __at(0xCC28) wMaxMenuItem;
volatile u8 __at(0xCC2C) wBagSavedMenuItem;
volatile u8 __at(0xCC2D) wBattleAndStartSavedMenuItem;
volatile u8 __at(0xCC36) wListScrollOffset;
volatile u8 __at(0xCD3D) wFieldMoves[4];
/* the hook of hidden objects reads this; it overlaps wFieldMoves in the original as well */
volatile u8 __at(0xCD3F) wHiddenObjectIndex;
volatile u8 __at(0xCD6B) wJoyIgnore;

/* ---- for scripted players: what the screen waits for (UI_* and MENU_* of format.h) ---- */
volatile u8 __at(0xCD81) ui_state;
volatile u8 __at(0xCD82) ui_menu;
volatile u8 __at(0xCD83) ui_cursor;
volatile u8 __at(0xCD84) ui_count;

volatile u8 __at(0xCFC4) wFontLoaded;
volatile u8 __at(0xCFC6) wTileInFrontOfPlayer;

/* ---- battle ---- */
volatile u8 __at(0xD057) wIsInBattle;
volatile u8 __at(0xD0DB) wRepelRemainingSteps;
volatile u8 __at(0xD127) wCurEnemyLevel;
volatile u8 __at(0xD89C) wEnemyPartyCount;

/* ---- party: 44-byte structs, numbers big-endian ---- */
typedef struct {
  u8 species;
  u8 hp[2];
  u8 box_level, status, type1, type2, catch_rate;
  u8 moves[4];
  u8 trainer_id[2];
  u8 experience[3];
  u8 stat_experience[10];
  u8 dv[2];
  u8 pp[4];
  u8 level;
  u8 max_hp[2], attack[2], defense[2], speed[2], special[2];
} Creature;
volatile u8 __at(0xD158) wPlayerName[11];
volatile u8 __at(0xD163) wPartyCount;
volatile u8 __at(0xD164) wPartySpecies[7];
Creature __at(0xD16B) wPartyMons[6];
Creature __at(0xD8A4) wEnemyMons[6];
volatile u8 __at(0xD2F7) wPokedexOwned[19];
volatile u8 __at(0xD30A) wPokedexSeen[19];

/* ---- bag and money ---- */
volatile u8 __at(0xD31D) wNumBagItems;
volatile u8 __at(0xD31E) wBagItems[41]; /* pairs (item, quantity); unused slots 0xFF */
volatile u8 __at(0xD347) wPlayerMoney[3]; /* BCD, most significant first */

/* ---- place and story ---- */
volatile u8 __at(0xD356) wObtainedBadges;
volatile u8 __at(0xD35D) wMapPalOffset;
volatile u8 __at(0xD35E) wCurMap;
volatile u8 __at(0xD361) wYCoord;
volatile u8 __at(0xD362) wXCoord;
volatile u8 __at(0xD365) wLastMap;
volatile u8 __at(0xD367) wCurMapTileset;
volatile u8 __at(0xD368) wCurMapHeight; /* in blocks of two cells, as the original counts */
volatile u8 __at(0xD369) wCurMapWidth;
volatile u8 __at(0xD42F) wDestinationWarpID;
volatile u8 __at(0xD4E1) wNumSprites;
volatile u8 __at(0xD5A6) wMissableObjectFlags[32];
volatile u8 __at(0xD5CE) wMissableObjectList[34];
volatile u8 __at(0xD6F0) wObtainedHiddenItemsFlags[14];
volatile u8 __at(0xD700) wWalkBikeSurfState;
volatile u8 __at(0xD70D) wSafariSteps[2];
volatile u8 __at(0xD719) wLastBlackoutMap;
volatile u8 __at(0xD728) wStatusFlags1;
volatile u8 __at(0xD736) wMovementFlags;
volatile u8 __at(0xD73C) wWarpedFromWhichMap;
volatile u8 __at(0xD747) wEventFlags[320];

#define hWarpDestinationMap (*(volatile u8 *)0xFF8B)
#define hSpriteIndexOrTextID (*(volatile u8 *)0xFF8C)

/* ---- our own high RAM and the hardware ---- */
#define hBank (*(volatile u8 *)0xFFB8)       /* ROM bank mapped now */
#define hCallerBank (*(volatile u8 *)0xFFB9) /* bank that made the last banked call: read it first thing in the callee */
#define hFrame (*(volatile u8 *)0xFFBB)      /* counts frames */
#define hHeld (*(volatile u8 *)0xFFBC)       /* buttons down in this frame, J_* */
#define hPressed (*(volatile u8 *)0xFFBD)    /* those of them that were up one frame earlier */
#define rP1 (*(volatile u8 *)0xFF00)
#define rSCY (*(volatile u8 *)0xFF42)
#define rSCX (*(volatile u8 *)0xFF43)
#define rBGP (*(volatile u8 *)0xFF47)
#define rROMB (*(volatile u8 *)0x2000)
#define rRAMB (*(volatile u8 *)0x4000)

#endif
