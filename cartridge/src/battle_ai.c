/* What the other side does: skill 0 picks any move, 1 mostly the strongest, 2 weighs everything. */
#pragma bank 6
#include "battle.h"

#define AVERAGE_ROLL 236

static u16 damage_score(u16 target_hp) {
  u16 damage = move_damage(1, move_factor(move_record.type, fighter(0)), 0, AVERAGE_ROLL);
  if (damage >= target_hp) damage = target_hp + (move_record.effect == EFFECT_QUICK ? 40 : 20);
  return damage * move_record.accuracy / 100;
}

/* Worth of a move that does no damage, in HP of the target. */
static u16 status_score(u16 target_hp) {
  const Creature *mine = fighter(1), *target = fighter(0);
  u8 effect = move_record.effect;
  if (effect == EFFECT_MEND) return big_endian(mine->hp) * 2 < big_endian(mine->max_hp) ? target_hp : 0;
  if (trainer.skill < 2) return target_hp >> 3;
  if (effect >= EFFECT_POISON && effect <= EFFECT_SLEEP) return target->status ? 0 : target_hp >> 2;
  if (effect <= EFFECT_ACCURACY_DOWN)
    return stat_mods(0)[effect == EFFECT_ACCURACY_DOWN ? MOD_ACCURACY : effect - 1] < 6 ? 0 : target_hp >> 3;
  return stat_mods(1)[effect - EFFECT_ATTACK_UP] > 8 ? 0 : target_hp >> 3;
}

static u8 random_slot(const Creature *c) { return usable_slot(c, random8() & 3); }

u8 enemy_move_slot(void) {
  const Creature *mine = fighter(1);
  u8 slot, best = NO_PP_MOVE;
  u16 score, best_score = 0, target_hp = big_endian(fighter(0)->hp);
  if (trainer.skill == 0 || (trainer.skill == 1 && random8() < 64)) return random_slot(mine);
  for (slot = 0; slot < 4; slot++) {
    if (!mine->moves[slot] || !(mine->pp[slot] & 63)) continue;
    load_move(mine->moves[slot]);
    score = move_record.power ? damage_score(target_hp) : status_score(target_hp);
    score += random8() & 1; /* ties are broken by chance */
    if (best == NO_PP_MOVE || score > best_score) {
      best = slot;
      best_score = score;
    }
  }
  return best;
}
