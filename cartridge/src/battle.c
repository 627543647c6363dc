/* The course of a battle: menus, turns, effects, who faints, what is won. Party and bag are read when they are needed. */
#pragma bank 6
#include "battle.h"
#include "message.h"

#define SHORT_PAUSE 12 /* frames a message stays that needs no button */

enum { ACTION_MOVE = 0, ACTION_SPENT = 1, ACTION_OVER = 2 };

u8 enemy_slot;
TrainerRecord trainer;
static u8 move_slot, result, attempts, fought, tonics;

/* ---- screen ---- */

static void tell(const char *template) {
  message_build(template);
  ui_message_nowait(message_line);
  wait_frames(SHORT_PAUSE);
}

static void name_of(u8 side, char *out) {
  if (side) {
    out = message_append(out, "Foe ");
    species_name(fighter(1)->species, out);
  } else {
    party_name(wPlayerMonNumber, out);
  }
}

static void mirror(u8 side) {
  const Creature *c = fighter(side);
  Fighter *f = side ? &wEnemyMon : &wBattleMon;
  const u8 *from = (const u8 *)c;
  u8 *to = (u8 *)f, i;
  for (i = 0; i < 12; i++) *to++ = *from++; /* species to moves */
  f->position = side ? enemy_slot : wPlayerMonNumber;
  f->dv[0] = c->dv[0];
  f->dv[1] = c->dv[1];
  f->level = c->level;
  from = c->max_hp;
  for (i = 0; i < 10; i++) f->stats[i] = from[i];
  for (i = 0; i < 4; i++) f->pp[i] = c->pp[i];
}

static void blank(u8 x, u8 y, u8 w, u8 h) {
  u8 i;
  for (; h; h--, y++)
    for (i = 0; i < w; i++) scr_put(x + i, y, UI_TILE_BLANK);
}

static void draw_name(u8 side, u8 x, u8 y) {
  const Creature *c = fighter(side);
  char name[11];
  blank(x, y, 10, 2);
  species_name(c->species, name);
  scr_print(x, y, name);
  scr_put(x + 4, y + 1, UI_TILE_LEVEL);
  scr_number(x + 5, y + 1, c->level, 3);
  if (c->status) {
    const char *word = c->status & STATUS_POISON ? "PSN" : c->status & STATUS_PARALYSIS ? "NUM" : "DOZ";
    scr_print(x, y + 1, word);
  }
}

/* Both names, levels and HP, on the screen and in the RAM map. */
static void show_fighters(void) {
  const Creature *mine = fighter(0), *other = fighter(1);
  mirror(0);
  mirror(1);
  draw_name(1, 1, 0);
  draw_health(2, 2, big_endian(other->hp), big_endian(other->max_hp));
  draw_name(0, 10, 7);
  draw_health(11, 9, big_endian(mine->hp), big_endian(mine->max_hp));
  scr_number(12, 10, big_endian(mine->hp), 3);
  scr_print(15, 10, "/");
  scr_number(16, 10, big_endian(mine->max_hp), 3);
  scr_flush();
}

static void draw_battle(void) {
  scr_clear();
  scr_box(0, 12, 20, 6);
  scr_picture(14, 0, fighter(1)->species, 0);
  scr_picture(2, 7, fighter(0)->species, 1);
  show_fighters();
}

/* ---- coming and going ---- */

static void neutral(u8 *mods) {
  u8 i;
  for (i = 0; i < 8; i++) mods[i] = MOD_NEUTRAL;
}

static void send_out(u8 slot) {
  wPlayerMonNumber = slot;
  neutral(wPlayerMonStatMods);
  fought |= (u8)(1 << slot);
}

static void send_enemy(u8 slot) {
  enemy_slot = slot;
  neutral(wEnemyMonStatMods);
  fought = (u8)(1 << wPlayerMonNumber);
  wCurEnemyLevel = wEnemyMons[slot].level;
  seen(wEnemyMons[slot].species);
}

static u8 first_alive(void) {
  u8 slot;
  for (slot = 0; slot < wPartyCount; slot++)
    if (big_endian(wPartyMons[slot].hp)) return slot;
  return 0;
}

/* Another member comes in; 0 = the player thought better of it. */
static u8 switch_member(u8 forced) {
  u8 slot, start = forced ? first_alive() : wPlayerMonNumber;
  for (;;) {
    message_build("Who shall fight?");
    slot = party_choose(MENU_SWITCH, start, !forced);
    if (slot == 255) break;
    if (!big_endian(wPartyMons[slot].hp)) {
      ui_message("It cannot fight\nnow.");
    } else if (slot == wPlayerMonNumber) {
      ui_message("It fights already.");
      slot = 255;
      break;
    } else {
      send_out(slot);
      break;
    }
  }
  draw_battle();
  if (slot == 255) return 0;
  name_of(0, say_name_1);
  tell("Go, @!");
  return 1;
}

/* ---- effects of moves ---- */

static const char *const mod_names[] = {"attack", "defense", "speed", "special", "aim"};

static void change_stat(u8 side, u8 mod, u8 up) {
  u8 *p = stat_mods(side) + mod;
  if (up ? *p >= 13 : *p <= 1) {
    tell("Nothing changed.");
    return;
  }
  *p += up ? 1 : -1;
  name_of(side, say_name_1);
  *message_append(say_name_2, mod_names[mod]) = 0;
  tell(up ? "@\nhas more #!" : "@\nhas less #!");
}

static void give_status(u8 side, u8 effect) {
  Creature *c = fighter(side);
  if (c->status) {
    if (!move_record.power) tell("Nothing changed.");
    return;
  }
  name_of(side, say_name_1);
  if (effect == EFFECT_POISON) {
    c->status = STATUS_POISON;
    tell("@\nis poisoned!");
  } else if (effect == EFFECT_PARALYZE) {
    c->status = STATUS_PARALYSIS;
    tell("@\nis numb!");
  } else {
    c->status = 1 + (random8() & 1) + (random8() & 1);
    tell("@\nfell asleep!");
  }
}

static void hurt(u8 side, u16 damage) {
  Creature *c = fighter(side);
  u16 hp = big_endian(c->hp);
  set_big_endian(c->hp, damage >= hp ? 0 : hp - damage);
}

static void side_effect(u8 side, u16 damage) {
  u8 effect = move_record.effect;
  switch (effect) {
  case EFFECT_QUICK:
  case EFFECT_KEEN: return;
  case EFFECT_DRAIN: creature_heal(fighter(side), (damage >> 1) + 1); return;
  case EFFECT_RECOIL: hurt(side, (damage >> 2) + 1); return;
  case EFFECT_MEND:
    creature_heal(fighter(side), big_endian(fighter(side)->max_hp) >> 1);
    return;
  }
  if (effect == EFFECT_ATTACK_UP || effect == EFFECT_DEFENSE_UP) {
    change_stat(side, effect - EFFECT_ATTACK_UP, 1);
    return;
  }
  if (!big_endian(fighter(!side)->hp)) return;
  if (move_record.chance < 100 && random8() >= (u16)move_record.chance * 255u / 100) return;
  if (effect <= EFFECT_ACCURACY_DOWN)
    change_stat(!side, effect == EFFECT_ACCURACY_DOWN ? MOD_ACCURACY : effect - EFFECT_ATTACK_DOWN, 0);
  else
    give_status(!side, effect);
}

/* Sleep and numbness; 1 = it can move. */
static u8 can_move(u8 side) {
  Creature *c = fighter(side);
  name_of(side, say_name_1);
  if (c->status & STATUS_SLEEP) {
    c->status--;
    if (c->status & STATUS_SLEEP) {
      tell("@\nis asleep.");
      return 0;
    }
    tell("@\nwoke up!");
  } else if (c->status & STATUS_PARALYSIS && random8() < 64) {
    tell("@\ncannot move!");
    return 0;
  }
  return 1;
}

static void land_hit(u8 side) {
  u8 factor = 10, critical;
  u16 damage = 0;
  if (move_record.power) {
    factor = move_factor(move_record.type, fighter(!side));
    critical = critical_hit();
    damage = move_damage(side, factor, critical, 217 + random8() % 39);
    hurt(!side, damage);
    show_fighters();
    if (critical && factor) tell("A perfect hit!");
    if (factor > 10) tell("It hits hard!");
    if (factor && factor < 10) tell("It hardly works.");
  } else if (move_record.effect >= EFFECT_POISON && move_record.effect <= EFFECT_SLEEP) {
    factor = move_factor(move_record.type, fighter(!side));
  }
  if (!factor) {
    tell("It has no effect.");
    return;
  }
  if (move_record.effect == EFFECT_NONE) return;
  side_effect(side, damage);
  show_fighters();
}

static void strike(u8 side, u8 slot) {
  Creature *c = fighter(side);
  u8 move;
  if (!can_move(side)) return;
  move = move_at(c, slot);
  if (slot != NO_PP_MOVE && c->pp[slot] & 63) c->pp[slot]--;
  if (side)
    wEnemySelectedMove = move;
  else
    wPlayerSelectedMove = move;
  name_of(side, say_name_1);
  move_name(move, say_name_2);
  tell("@\nused #!");
  if (move_hits(side))
    land_hit(side);
  else
    tell("It missed!");
}

/* ---- the end of somebody ---- */

static void gain_experience(void) {
  u8 slot, sharers = 0, grown = 0;
  u16 each;
  for (slot = 0; slot < wPartyCount; slot++)
    if (fought >> slot & 1 && big_endian(wPartyMons[slot].hp)) sharers++;
  if (!sharers) return;
  each = beaten_experience(sharers);
  for (slot = 0; slot < wPartyCount; slot++)
    if (fought >> slot & 1 && big_endian(wPartyMons[slot].hp)) grown |= party_gain(slot, each);
  if (grown) draw_battle();
}

static void win(void) {
  result = BATTLE_WON;
  if (!trainer.n) return;
  money_add(trainer.reward);
  *message_append(say_name_1, trainer.name) = 0;
  say_value = trainer.reward;
  say("Beat @!\nYou get $%.");
}

static void enemy_fainted(void) {
  u8 next = enemy_slot + 1;
  name_of(1, say_name_1);
  blank(14, 0, 5, 5);
  tell("@\nfainted!");
  gain_experience();
  if (!party_alive()) return;
  if (next >= wEnemyPartyCount) {
    win();
    return;
  }
  send_enemy(next);
  *message_append(say_name_1, trainer.name) = 0;
  species_name(fighter(1)->species, say_name_2);
  draw_battle();
  tell("@ sends\n#!");
}

/* 0 = both stand, 1 = somebody fell and the turn is over, ACTION_OVER = the battle is */
static u8 settle(void) {
  u8 over = 0;
  if (!big_endian(fighter(1)->hp)) {
    enemy_fainted();
    if (result) return ACTION_OVER;
    over = 1;
  }
  if (!big_endian(fighter(0)->hp)) {
    name_of(0, say_name_1);
    blank(2, 7, 5, 5);
    tell("@\nfainted!");
    if (!party_alive()) {
      say("You have nobody\nleft to fight!");
      result = BATTLE_LOST;
      return ACTION_OVER;
    }
    switch_member(1);
    over = 1;
  }
  return over;
}

/* ---- a turn ---- */

static void poison_hurts(u8 side) {
  Creature *c = fighter(side);
  if (!(c->status & STATUS_POISON) || !big_endian(c->hp)) return;
  hurt(side, (big_endian(c->max_hp) >> 4) + 1);
  name_of(side, say_name_1);
  tell("@\nsuffers poison.");
  show_fighters();
}

static u8 quick(u8 side, u8 slot) {
  load_move(move_at(fighter(side), slot));
  return move_record.effect == EFFECT_QUICK;
}

static u8 player_first(u8 enemy_move) {
  u8 mine = quick(0, move_slot), other = quick(1, enemy_move);
  u16 speed = speed_of(0), enemy_speed = speed_of(1);
  if (mine != other) return mine;
  if (speed != enemy_speed) return speed > enemy_speed;
  return random8() & 1;
}

static void enemy_acts(u8 enemy_move) {
  Creature *c = fighter(1);
  if (tonics && big_endian(c->hp) * 3 < big_endian(c->max_hp)) {
    tonics--;
    creature_heal(c, 20);
    *message_append(say_name_1, trainer.name) = 0;
    tell("@\nuses a tonic!");
    show_fighters();
    return;
  }
  strike(1, enemy_move);
}

static void turn(u8 action) {
  u8 enemy_move = enemy_move_slot(), side, i;
  if (action == ACTION_MOVE) {
    side = !player_first(enemy_move);
    for (i = 0; i < 2; i++, side = !side) {
      if (side)
        enemy_acts(enemy_move);
      else
        strike(0, move_slot);
      if (settle()) return;
    }
  } else {
    enemy_acts(enemy_move);
    if (settle()) return;
  }
  poison_hurts(0);
  poison_hurts(1);
  settle();
}

/* ---- menus ---- */

static u8 choose_move(void) {
  const Creature *c = fighter(0);
  u8 i, n = 0, start = usable_slot(c, 0);
  char name[13];
  if (start == NO_PP_MOVE) {
    move_slot = NO_PP_MOVE;
    return 1;
  }
  scr_box(0, 12, 20, 6);
  for (i = 0; i < 4 && c->moves[i]; i++) {
    move_name(c->moves[i], name);
    scr_print(2, 13 + i, name);
    scr_number(15, 13 + i, c->pp[i] & 63, 2);
    n++;
  }
  for (;;) {
    i = ui_choose_from(MENU_MOVES, 1, 13, n, start, 1);
    if (i == 255) return 0;
    if (c->pp[i] & 63) break;
    start = usable_slot(c, 0);
    if (start == NO_PP_MOVE) return 0;
    scr_put(1, 13 + i, UI_TILE_BLANK);
  }
  move_slot = i;
  return 1;
}

static u8 run_away(void) {
  if (trainer.n) {
    say("No running from\nsuch a fight!");
    return 0;
  }
  if (run_works(attempts++)) {
    result = BATTLE_RAN;
    tell("You got away.");
  } else {
    tell("You cannot get\naway!");
  }
  return 1;
}

/* The player's choice: a move, the turn spent otherwise, or the end. */
static u8 player_action(void) {
  u8 choice;
  for (;;) {
    show_fighters();
    scr_box(0, 12, 20, 6);
    scr_box(11, 12, 9, 6);
    scr_print(13, 13, "FIGHT\nITEM\nSWITCH\nRUN");
    name_of(0, say_name_1);
    scr_print(1, 14, "What next,");
    scr_print(1, 15, say_name_1);
    choice = ui_choose_from(MENU_BATTLE, 12, 13, 4, 0, 1);
    if (choice == 0) {
      if (choose_move()) return ACTION_MOVE;
    } else if (choice == 1) {
      choice = bag_screen(1);
      draw_battle();
      if (result) return ACTION_OVER;
      if (choice != 255) return ACTION_SPENT;
    } else if (choice == 2) {
      if (switch_member(0)) return ACTION_SPENT;
    } else if (choice == 3) {
      if (run_away()) return result ? ACTION_OVER : ACTION_SPENT;
    }
  }
}

/* ---- catching ---- */

void throw_ball(u8 item) __banked {
  u8 strength;
  load_item(item);
  strength = item_record.value;
  item_name(item, say_name_1);
  draw_battle();
  tell("You throw the\n@!");
  blank(14, 0, 5, 5);
  scr_put(16, 3, UI_TILE_BALL);
  scr_flush();
  wait_frames(SHORT_PAUSE);
  species_name(fighter(1)->species, say_name_1);
  if (!catch_holds(strength)) {
    scr_picture(14, 0, fighter(1)->species, 0);
    tell("It broke free!");
    return;
  }
  result = BATTLE_CAUGHT;
  owned(fighter(1)->species);
  if (party_join(fighter(1)))
    say("@ is\nyours now!");
  else
    say("@ goes\nto the lab.");
}

/* ---- the whole ---- */

static void clear_enemies(void) {
  u8 *p = (u8 *)wEnemyMons;
  u16 n;
  wEnemyPartyCount = 0;
  for (n = 0; n < sizeof(Creature) * 6; n++) *p++ = 0;
  for (n = 0; n < 7; n++) wEnemyPartySpecies[n] = 0xFF;
}

static void add_enemy(u8 species, u8 level) {
  u8 slot = wEnemyPartyCount;
  creature_make(&wEnemyMons[slot], species, level);
  wEnemyPartySpecies[slot] = species;
  wEnemyPartyCount = slot + 1;
}

static void begin(u8 kind) {
  wIsInBattle = kind;
  result = 0;
  attempts = 0;
  tonics = trainer.tonics;
  send_out(first_alive());
  send_enemy(0);
  scr_open();
  draw_battle();
}

static u8 fight(void) {
  u8 action;
  while (!result) {
    action = player_action();
    if (action != ACTION_OVER) turn(action);
  }
  fought = 0;
  wIsInBattle = 0;
  wEnemyPartyCount = 0;
  scr_close();
  return result;
}

u8 battle_wild(u8 species, u8 level) __banked {
  if (!party_alive()) return BATTLE_LOST;
  trainer.n = 0;
  trainer.skill = 0;
  trainer.tonics = 0;
  clear_enemies();
  add_enemy(species, level);
  wCurOpponent = species;
  begin(1);
  species_name(species, say_name_1);
  say("A wild @\nappears!");
  return fight();
}

u8 battle_trainer(u8 id) __banked {
  u8 i;
  if (!party_alive()) return BATTLE_LOST;
  if (id >= far_peek(BATTLE_DATA_BANK, &n_trainers)) id = 0;
  far_copy((u8 *)&trainer, BATTLE_DATA_BANK, (const u8 *)&trainer_table[id], sizeof(TrainerRecord));
  clear_enemies();
  for (i = 0; i < trainer.n; i++) add_enemy(trainer.party[i].species, trainer.party[i].level);
  wTrainerClass = id;
  wTrainerNo = id;
  wCurOpponent = id + 200;
  begin(2);
  *message_append(say_name_1, trainer.name) = 0;
  say("@\nwants to fight!");
  return fight();
}
