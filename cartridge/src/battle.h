/* What the files of the battle share. Sides: 0 = player, 1 = the other. */
#ifndef BATTLE_H
#define BATTLE_H
#include "creature.h"

#define NO_PP_MOVE 4 /* move slot that stands for "nothing left": move id 0 */

extern u8 enemy_slot;             /* who of wEnemyMons fights */
extern TrainerRecord trainer;     /* n = 0: a wild battle */

static inline u8 move_at(const Creature *c, u8 slot) { return slot == NO_PP_MOVE ? 0 : c->moves[slot]; }

/* ---- battle_math.c ---- */
Creature *fighter(u8 side);
u8 *stat_mods(u8 side);
/* of these the move is the one in move_record */
u16 staged(u16 stat, u8 mod);                             /* a stat after its stages */
u16 speed_of(u8 side);
u8 critical_hit(void);
u16 move_damage(u8 side, u8 factor, u8 critical, u8 roll); /* roll 217..255 */
u8 move_hits(u8 side);
u8 catch_holds(u8 strength);                              /* strength: ten times */
u8 run_works(u8 attempts);
u16 beaten_experience(u8 sharers);
u8 usable_slot(const Creature *c, u8 start);              /* first slot from start on with PP, or NO_PP_MOVE */

/* ---- battle_ai.c ---- */
u8 enemy_move_slot(void);

#endif
