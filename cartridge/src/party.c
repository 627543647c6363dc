/* Creatures of the party: made, healed, grown, taught. */
#pragma bank 7
#include "creature.h"
#include "message.h"

char say_name_1[16], say_name_2[16], message_line[80];
u16 say_value;

static u16 stat(u8 base, u8 dv, u8 level) { return ((u16)base + dv) * 2 * level / 100; }

void creature_stats(Creature *c) __banked {
  u8 hp_dv = ((c->dv[0] >> 4) & 1) << 3 | (c->dv[0] & 1) << 2 | ((c->dv[1] >> 4) & 1) << 1 | (c->dv[1] & 1);
  u16 before = big_endian(c->max_hp), hp = big_endian(c->hp), max;
  load_species(c->species);
  max = stat(species_record.base[0], hp_dv, c->level) + c->level + 10;
  set_big_endian(c->max_hp, max);
  set_big_endian(c->attack, stat(species_record.base[1], c->dv[0] >> 4, c->level) + 5);
  set_big_endian(c->defense, stat(species_record.base[2], c->dv[0] & 15, c->level) + 5);
  set_big_endian(c->speed, stat(species_record.base[3], c->dv[1] >> 4, c->level) + 5);
  set_big_endian(c->special, stat(species_record.base[4], c->dv[1] & 15, c->level) + 5);
  if (hp && max > before) set_big_endian(c->hp, hp + max - before);
}

static u8 full_pp(u8 move) {
  load_move(move);
  return move_record.pp;
}

/* The move of the learning list at `index` if it belongs to a level in first..last; 0 = no; 255 = the list ends. */
static u8 learnt_at(u8 index, u8 first, u8 last) {
  const u8 *pair = species_record.learns + (index << 1);
  u8 level = far_peek(BATTLE_DATA_BANK, pair);
  if (!level || level > last) return 255;
  return level < first ? 0 : far_peek(BATTLE_DATA_BANK, pair + 1);
}

static void first_moves(Creature *c) {
  u8 i, j, move;
  for (i = 0; (move = learnt_at(i, 1, c->level)) != 255; i++) {
    for (j = 0; j < 3 && c->moves[j]; j++) {
    }
    if (c->moves[j]) { /* full: the oldest goes */
      for (j = 0; j < 3; j++) c->moves[j] = c->moves[j + 1];
    }
    c->moves[j] = move;
  }
  for (j = 0; j < 4; j++) c->pp[j] = c->moves[j] ? full_pp(c->moves[j]) : 0;
}

static u32 experience_at(u8 level) { return (u32)level * level * level; }

static u32 experience_of(const Creature *c) {
  return (u32)c->experience[0] << 16 | (u16)c->experience[1] << 8 | c->experience[2];
}

static void set_experience(Creature *c, u32 value) {
  c->experience[0] = (u8)(value >> 16);
  c->experience[1] = (u8)(value >> 8);
  c->experience[2] = (u8)value;
}

void creature_make(Creature *c, u8 species, u8 level) __banked {
  u8 *p = (u8 *)c, n = sizeof(Creature);
  while (n--) *p++ = 0;
  load_species(species);
  c->type1 = species_record.type1;
  c->type2 = species_record.type2;
  c->catch_rate = species_record.catch_rate;
  c->dv[0] = random8();
  c->dv[1] = random8();
  c->level = level;
  c->box_level = level;
  set_experience(c, experience_at(level));
  first_moves(c);
  c->species = species;
  creature_stats(c);
  c->hp[0] = c->max_hp[0];
  c->hp[1] = c->max_hp[1];
}

void creature_heal(Creature *c, u16 hp) __banked {
  u16 max = big_endian(c->max_hp);
  hp += big_endian(c->hp);
  set_big_endian(c->hp, hp > max ? max : hp);
}

/* ---- dex, lists, names ---- */

static void dex_bit(volatile u8 *flags, u8 species) {
  u8 n;
  load_species(species);
  if (!species_record.dex) return;
  n = species_record.dex - 1;
  flags[n >> 3] |= (u8)(1 << (n & 7));
}

void seen(u8 species) __banked { dex_bit(wPokedexSeen, species); }

static void enlist(u8 slot) {
  u8 species = wPartyMons[slot].species, *nick = wPartyMonNicks + slot * 11, i;
  dex_bit(wPokedexSeen, species);
  dex_bit(wPokedexOwned, species);
  wPartySpecies[slot] = species;
  for (i = 0; i < 10 && species_record.name[i]; i++) nick[i] = species_record.name[i] - 'A' + 0x80;
  for (; i < 11; i++) nick[i] = 0x50;
}

void party_name(u8 slot, char *out) __banked { species_name(wPartyMons[slot].species, out); }

u8 party_join(const Creature *c) __banked {
  u8 slot = wPartyCount, i, *to, *from = (u8 *)c;
  if (slot >= 6) return 0;
  to = (u8 *)&wPartyMons[slot];
  for (i = 0; i < sizeof(Creature); i++) *to++ = *from++;
  enlist(slot);
  wPartySpecies[slot + 1] = 0xFF;
  wPartyCount = slot + 1;
  return 1;
}

void owned(u8 species) __banked { dex_bit(wPokedexOwned, species); }

u8 party_add(u8 species, u8 level) __banked {
  Creature c;
  creature_make(&c, species, level);
  return party_join(&c);
}

void party_new_game(void) __banked {
  Creature c;
  u8 i;
  wPartyCount = 0;
  for (i = 0; i < 3; i++) wPlayerMoney[i] = far_peek(BATTLE_DATA_BANK, &starting_money[i]);
  wNumBagItems = 0;
  for (i = 0; i < 41; i++) wBagItems[i] = 0xFF;
  for (i = 0; far_peek(BATTLE_DATA_BANK, &starting_bag[i]); i += 2)
    bag_add(far_peek(BATTLE_DATA_BANK, &starting_bag[i]), far_peek(BATTLE_DATA_BANK, &starting_bag[i + 1]));
  creature_make(&c, far_peek(BATTLE_DATA_BANK, &starter[0]), far_peek(BATTLE_DATA_BANK, &starter[1]));
  c.dv[0] = 0xAA; /* the first creature is the same in every game */
  c.dv[1] = 0xAA;
  creature_stats(&c);
  c.hp[0] = c.max_hp[0];
  c.hp[1] = c.max_hp[1];
  party_join(&c);
}

void party_heal(void) __banked {
  u8 slot, i;
  Creature *c = wPartyMons;
  for (slot = 0; slot < wPartyCount; slot++, c++) {
    c->hp[0] = c->max_hp[0];
    c->hp[1] = c->max_hp[1];
    c->status = 0;
    for (i = 0; i < 4; i++) c->pp[i] = c->moves[i] ? full_pp(c->moves[i]) : 0;
  }
}

u8 party_alive(void) __banked {
  u8 slot, alive = 0;
  for (slot = 0; slot < wPartyCount; slot++)
    if (big_endian(wPartyMons[slot].hp)) alive++;
  return alive;
}

u8 party_member_knows(u8 slot, u8 move) __banked {
  u8 i;
  for (i = 0; i < 4; i++)
    if (wPartyMons[slot].moves[i] == move) return 1;
  return 0;
}

u8 party_knows(u8 move) __banked {
  u8 slot;
  for (slot = 0; slot < wPartyCount; slot++)
    if (party_member_knows(slot, move)) return slot + 1;
  return 0;
}

/* ---- moves ---- */

static u8 field_move(u8 move) { return move == MOVE_CUT || move == 0x39 || move == 0x46; }

/* The slot a careless player should lose: no field move, least power. */
static u8 weakest_move(const Creature *c) {
  u8 i, at = 0, least = 255;
  for (i = 0; i < 4; i++) {
    load_move(c->moves[i]);
    if (!field_move(c->moves[i]) && move_record.power < least) {
      least = move_record.power;
      at = i;
    }
  }
  return at;
}

static u8 ask_forget(const Creature *c, u8 start) {
  u8 i;
  char name[13];
  scr_box(3, 1, 17, 9);
  for (i = 0; i < 4; i++) {
    move_name(c->moves[i], name);
    scr_print(5, 2 + 2 * i, name);
  }
  message_build("Forget which for\n#?");
  ui_message_nowait(message_line);
  return ui_choose_from(MENU_LEARN, 4, 2, 4, start, 2);
}

static u8 slot_for_move(const Creature *c, u8 forced) {
  u8 i;
  for (i = 0; i < 4; i++)
    if (!c->moves[i]) return i;
  if (forced) return 3;
  say("@ can learn\n#!");
  for (;;) {
    i = ask_forget(c, weakest_move(c));
    if (i == 255 || !field_move(c->moves[i])) return i;
    say("That one cannot be\nforgotten.");
  }
}

u8 party_teach(u8 slot, u8 move, u8 forced) __banked {
  Creature *c = &wPartyMons[slot];
  u8 i;
  party_name(slot, say_name_1);
  move_name(move, say_name_2);
  for (i = 0; i < 4; i++)
    if (c->moves[i] == move) return 0;
  i = slot_for_move(c, forced);
  if (i == 255) return 0;
  c->pp[i] = full_pp(move);
  c->moves[i] = move;
  say("@ learned\n#!");
  return 1;
}

/* ---- growth ---- */

static void evolve(u8 slot) {
  Creature *c = &wPartyMons[slot];
  u8 into = species_record.evolve_to;
  species_name(c->species, say_name_1);
  species_name(into, say_name_2);
  c->type1 = species_record.type1;
  c->type2 = species_record.type2;
  c->catch_rate = species_record.catch_rate;
  c->species = into;
  creature_stats(c);
  enlist(slot);
  say("@ grew into\n#!");
}

static void grow(u8 slot) {
  Creature *c = &wPartyMons[slot];
  u8 i, move;
  c->level++;
  c->box_level = c->level;
  creature_stats(c);
  party_name(slot, say_name_1);
  say_value = c->level;
  say("@ reached\nlevel %!");
  for (i = 0; load_species(c->species), (move = learnt_at(i, c->level, c->level)) != 255; i++)
    if (move) party_teach(slot, move, 0);
  load_species(c->species);
  if (species_record.evolve_level && c->level >= species_record.evolve_level) evolve(slot);
}

u8 party_gain(u8 slot, u16 experience) __banked {
  Creature *c = &wPartyMons[slot];
  u8 grown = 0;
  u32 limit = experience_at(MAX_LEVEL), value = experience_of(c) + experience;
  party_name(slot, say_name_1);
  say_value = experience;
  say("@ gained\n% points!");
  set_experience(c, value > limit ? limit : value);
  while (c->level < MAX_LEVEL && experience_of(c) >= experience_at(c->level + 1)) {
    grow(slot);
    grown = 1;
  }
  return grown;
}

u8 party_level_up(u8 slot) __banked {
  Creature *c = &wPartyMons[slot];
  if (c->level >= MAX_LEVEL) return 0;
  set_experience(c, experience_at(c->level + 1));
  grow(slot);
  return 1;
}
