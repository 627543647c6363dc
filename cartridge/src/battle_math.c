/* The arithmetic of battles: who is faster, what hits, how hard, what is caught. */
#pragma bank 6
#include "battle.h"

#define EXPERIENCE_DIVISOR 4

Creature *fighter(u8 side) { return side ? &wEnemyMons[enemy_slot] : &wPartyMons[wPlayerMonNumber]; }

u8 *stat_mods(u8 side) { return side ? wEnemyMonStatMods : wPlayerMonStatMods; }

u16 staged(u16 stat, u8 mod) {
  if (mod > MOD_NEUTRAL) return stat * (mod - 5u) / 2;
  return stat * 2 / (9u - mod);
}

u16 speed_of(u8 side) {
  const Creature *c = fighter(side);
  u16 speed = staged(big_endian(c->speed), stat_mods(side)[MOD_SPEED]);
  return c->status & STATUS_PARALYSIS ? speed >> 2 : speed;
}

u8 critical_hit(void) { return random8() < (move_record.effect == EFFECT_KEEN ? 56 : 14); }

u16 move_damage(u8 side, u8 factor, u8 critical, u8 roll) {
  const Creature *from = fighter(side), *to = fighter(!side);
  u8 special = move_record.type >= FIRST_SPECIAL_TYPE, mod;
  u16 attack, defense;
  u32 damage;
  if (!move_record.power || !factor) return 0;
  mod = special ? MOD_SPECIAL : MOD_ATTACK;
  attack = staged(big_endian(special ? from->special : from->attack), stat_mods(side)[mod]);
  mod = special ? MOD_SPECIAL : MOD_DEFENSE;
  defense = staged(big_endian(special ? to->special : to->defense), stat_mods(!side)[mod]);
  if (!defense) defense = 1;
  damage = (u32)(from->level * 2u / 5 + 2) * move_record.power * attack / defense / 50 + 2;
  if (move_record.type == from->type1 || move_record.type == from->type2) damage += damage >> 1;
  if (critical) damage += damage >> 1;
  damage = damage * factor / 10 * roll / 255;
  if (damage > 999) return 999;
  return damage ? (u16)damage : 1;
}

u8 move_hits(u8 side) {
  u16 chance = staged((u16)move_record.accuracy * 255u / 100, stat_mods(side)[MOD_ACCURACY]);
  return chance >= 255 || random8() < chance;
}

u8 catch_holds(u8 strength) {
  const Creature *c = fighter(1);
  u16 hp = big_endian(c->hp), max = big_endian(c->max_hp), chance;
  if (strength == 255) return 1;
  chance = (u16)((u32)(3 * max - 2 * hp) * c->catch_rate / (3 * max));
  chance = chance * strength / 10;
  if (c->status) chance += 40;
  return chance >= 255 || random8() < chance;
}

u8 run_works(u8 attempts) {
  u16 mine = speed_of(0), other = speed_of(1), chance;
  if (mine >= other) return 1;
  chance = mine * 128u / other + attempts * 60u;
  return chance >= 255 || random8() < chance;
}

u16 beaten_experience(u8 sharers) {
  const Creature *c = fighter(1);
  u16 experience;
  load_species(c->species);
  experience = (u16)species_record.experience * c->level / EXPERIENCE_DIVISOR;
  if (trainer.n) experience += experience >> 1;
  return experience / sharers + 1;
}

u8 usable_slot(const Creature *c, u8 start) {
  u8 i, slot;
  for (i = 0; i < 4; i++) {
    slot = (start + i) & 3;
    if (c->moves[slot] && (c->pp[slot] & 63)) return slot;
  }
  return NO_PP_MOVE;
}
