/* The tables of creatures, moves, items, trainers and shops: written by generate_battle.py (which reads the enums below)
 * into one bank, read by far_copy.
 */
#ifndef BATTLE_TABLES_H
#define BATTLE_TABLES_H
#include "format.h"

#define BATTLE_DATA_BANK 9
#define N_TYPES 27          /* type ids 0..26 of the RAM map */
#define FIRST_SPECIAL_TYPE 0x14
#define MAX_LEVEL 100

enum { EFFECT_NONE = 0, EFFECT_ATTACK_DOWN = 1, EFFECT_DEFENSE_DOWN = 2, EFFECT_SPEED_DOWN = 3,
       EFFECT_ACCURACY_DOWN = 4, EFFECT_ATTACK_UP = 5, EFFECT_DEFENSE_UP = 6, EFFECT_POISON = 7, EFFECT_PARALYZE = 8,
       EFFECT_SLEEP = 9, EFFECT_DRAIN = 10, EFFECT_MEND = 11, EFFECT_RECOIL = 12, EFFECT_QUICK = 13, EFFECT_KEEN = 14 };

enum { ITEM_NONE = 0, ITEM_KEY = 1, ITEM_BALL = 2, ITEM_HEAL = 3, ITEM_CURE = 4, ITEM_REVIVE = 5, ITEM_REPEL = 6,
       ITEM_TEACH = 7, ITEM_CARD = 8, ITEM_CANDY = 9 };

/* condition byte of a creature, as in the RAM map: the low three bits count turns of sleep */
enum { STATUS_SLEEP = 0x07, STATUS_POISON = 0x08, STATUS_PARALYSIS = 0x40 };

#define MOVE_CUT 0x0F

typedef struct {
  char name[11];
  u8 dex;               /* 1..151, 0 = no such species */
  u8 type1, type2;
  u8 base[5];           /* HP, attack, defense, speed, special */
  u8 catch_rate, experience;
  u8 evolve_level, evolve_to; /* level 0 = never */
  u8 cuts;              /* 1: takes HM_01 */
  const u8 *learns;     /* pairs (level, move), level 0 = end */
} SpeciesRecord;

typedef struct {
  char name[13];
  u8 type, power, accuracy /* percent */, pp, effect, chance /* percent */;
} MoveRecord;

typedef struct {
  char name[13];
  u8 kind, value;
  u16 price;
} ItemRecord;

typedef struct {
  char name[13];
  u8 skill, tonics;
  u16 reward;
  u8 n;
  Encounter party[6];
} TrainerRecord;

typedef struct { u8 n; u8 items[8]; } Shop;

/* all in BATTLE_DATA_BANK; *_index: id -> row, row 0 stands for ids that are not in the game */
extern const u8 species_index[256], move_index[256], item_index[256];
extern const SpeciesRecord species_table[];
extern const MoveRecord move_table[];
extern const ItemRecord item_table[];
extern const TrainerRecord trainer_table[];  /* by trainer id */
extern const u8 n_trainers;
extern const Shop shop_table[];              /* by shop id */
extern const u8 n_shops;
extern const u8 type_chart[N_TYPES * N_TYPES]; /* [attacker * N_TYPES + defender]: ten times the factor */
extern const u8 starter[2];                  /* species, level */
extern const u8 starting_bag[];              /* pairs (item, quantity), item 0 = end */
extern const u8 starting_money[3];           /* BCD */

#endif
