/* What the files of battle, party and items share. Records are read into RAM by the load_* functions; numbers in the
 * structs of the RAM map are big-endian. Others may rewrite party, bag and money at any time, so they are read at use.
 */
#ifndef CREATURE_H
#define CREATURE_H
#include "battle_tables.h"
#include "data.h"
#include "game.h"

/* ---- more of the RAM map ---- */
typedef struct {
  u8 species;
  u8 hp[2];
  u8 position, status, type1, type2, catch_rate;
  u8 moves[4];
  u8 dv[2];
  u8 level;
  u8 stats[10]; /* max HP, attack, defense, speed, special */
  u8 pp[4];
} Fighter;
volatile u8 __at(0xCC2F) wPlayerMonNumber; /* party slot that fights */
volatile u8 __at(0xCCDC) wPlayerSelectedMove;
volatile u8 __at(0xCCDD) wEnemySelectedMove;
u8 __at(0xCD1A) wPlayerMonStatMods[8];     /* 1..13, 7 = unchanged: attack, defense, speed, special, accuracy, evasion */
u8 __at(0xCD2E) wEnemyMonStatMods[8];
Fighter __at(0xCFE5) wEnemyMon;
Fighter __at(0xD014) wBattleMon;
volatile u8 __at(0xD031) wTrainerClass;
volatile u8 __at(0xD059) wCurOpponent;
volatile u8 __at(0xD05D) wTrainerNo;
u8 __at(0xD2B5) wPartyMonNicks[66];        /* 11 bytes each, letters from 0x80, end 0x50 */
u8 __at(0xD89D) wEnemyPartySpecies[7];

enum { MOD_ATTACK = 0, MOD_DEFENSE = 1, MOD_SPEED = 2, MOD_SPECIAL = 3, MOD_ACCURACY = 4, MOD_NEUTRAL = 7 };

static inline u16 big_endian(const u8 *p) { return ((u16)p[0] << 8) | p[1]; }
static inline void set_big_endian(u8 *p, u16 value) {
  p[0] = (u8)(value >> 8);
  p[1] = (u8)value;
}

/* ---- tables.c ---- */
extern SpeciesRecord species_record; /* what load_species read last, and so on */
extern MoveRecord move_record;
extern ItemRecord item_record;
void load_species(u8 species) __banked;
void load_move(u8 move) __banked;
void load_item(u8 item) __banked;
u8 type_factor(u8 attacker, u8 defender) __banked; /* ten times */
u8 move_factor(u8 type, const Creature *target) __banked; /* of both types: 0, 2, 5, 10, 20, 40 */

/* ---- party.c ---- */
void creature_make(Creature *c, u8 species, u8 level) __banked;
void creature_stats(Creature *c) __banked;   /* from species, level and DVs; HP grow with their maximum */
void creature_heal(Creature *c, u16 hp) __banked;
void seen(u8 species) __banked;
u8 party_join(const Creature *c) __banked;    /* 0 = party full */
void owned(u8 species) __banked;
u8 party_member_knows(u8 slot, u8 move) __banked;
void party_name(u8 slot, char *out) __banked;
u8 party_gain(u8 slot, u16 experience) __banked; /* says so; 1 = a level or more was gained */
u8 party_level_up(u8 slot) __banked;         /* one level, with moves and growth; 0 = at the last level */
u8 party_teach(u8 slot, u8 move, u8 forced) __banked; /* forced: the last move goes if there is no room; 0 = not learnt */

/* ---- party_screen.c ---- */
u8 party_choose(u8 menu, u8 start, u8 may_cancel) __banked; /* full screen with message_line below; slot or 255 */
void draw_health(u8 x, u8 y, u16 hp, u16 max) __banked; /* bar of eight tiles */

extern u8 screen_open;                       /* engine: 1 between scr_open and scr_close */

/* ---- battle.c ---- */
void throw_ball(u8 item) __banked;

#endif
