/* What items do. */
#pragma bank 7
#include "creature.h"
#include "message.h"

static void no_effect(void) { say("It would have no\neffect."); }

static u8 heal_hp(Creature *c) {
  u16 hp = big_endian(c->hp);
  if (!hp || hp >= big_endian(c->max_hp)) return 0;
  creature_heal(c, item_record.value);
  return 1;
}

static u8 cure(Creature *c) {
  if (!(c->status & item_record.value)) return 0;
  c->status &= (u8)~item_record.value;
  return 1;
}

static u8 revive(Creature *c) {
  if (big_endian(c->hp)) return 0;
  c->status = 0;
  set_big_endian(c->hp, (big_endian(c->max_hp) >> 1) + 1);
  return 1;
}

/* The wounded come first under the cursor. */
static u8 likely_target(void) {
  u8 slot;
  for (slot = 0; slot < wPartyCount; slot++)
    if (item_record.kind == ITEM_HEAL ? big_endian(wPartyMons[slot].hp) < big_endian(wPartyMons[slot].max_hp) &&
                                            big_endian(wPartyMons[slot].hp)
                                      : wPartyMons[slot].status)
      return slot;
  return 0;
}

static u8 treat(u8 item) {
  u8 slot, worked;
  Creature *c;
  message_build("Use it on whom?");
  slot = party_choose(MENU_TARGET, likely_target(), 1);
  if (slot == 255) return 0;
  c = &wPartyMons[slot];
  load_item(item);
  if (item_record.kind == ITEM_HEAL)
    worked = heal_hp(c);
  else if (item_record.kind == ITEM_CURE)
    worked = cure(c);
  else
    worked = revive(c);
  if (!worked) {
    no_effect();
    return 0;
  }
  party_name(slot, say_name_1);
  say("@ feels\nbetter!");
  return 1;
}

static u8 can_learn(u8 species, u8 move) {
  load_species(species);
  if (move == MOVE_CUT) return species_record.cuts;
  load_move(move);
  return !move_record.type || move_record.type == species_record.type1 || move_record.type == species_record.type2;
}

static u8 first_learner(u8 move) {
  u8 slot;
  for (slot = 0; slot < wPartyCount; slot++)
    if (can_learn(wPartyMons[slot].species, move)) return slot;
  return 0;
}

static u8 teach(u8 item) {
  u8 move = item_record.value, forced = item_record.kind == ITEM_TEACH, slot;
  message_build("Teach it to whom?");
  slot = party_choose(MENU_TARGET, first_learner(move), 1);
  if (slot == 255) return 0;
  party_name(slot, say_name_1);
  if (!can_learn(wPartyMons[slot].species, move)) {
    say("@ cannot\nlearn that.");
    return 0;
  }
  if (party_member_knows(slot, move)) {
    say("@ knows\nthat already.");
    return 0;
  }
  if (!party_teach(slot, move, forced)) return 0;
  if (!forced) bag_remove(item, 1);
  return 1;
}

static u8 candy(void) {
  u8 slot;
  message_build("Use it on whom?");
  slot = party_choose(MENU_TARGET, 0, 1);
  if (slot == 255) return 0;
  if (party_level_up(slot)) return 1;
  no_effect();
  return 0;
}

static u8 repel(void) {
  if (wRepelRemainingSteps) {
    say("The last spray\nstill works.");
    return 0;
  }
  wRepelRemainingSteps = item_record.value;
  say("Weak creatures\nwill keep away.");
  return 1;
}

static u8 outside_battle(u8 item) {
  u8 kind = item_record.kind;
  if (kind == ITEM_TEACH || kind == ITEM_CARD) return teach(item);
  if (kind == ITEM_REPEL || kind == ITEM_CANDY) {
    if (!(kind == ITEM_REPEL ? repel() : candy())) return 0;
    bag_remove(item, 1);
    return 1;
  }
  say("This is not the\nplace for that.");
  return 0;
}

static u8 ball(u8 item) {
  if (wIsInBattle != 1) {
    say("You cannot take\nwhat is not wild!");
    return 0;
  }
  hook_far(0x03, 0x56FA);
  bag_remove(item, 1);
  throw_ball(item);
  return 1;
}

u8 item_use(u8 item, u8 in_battle) __banked {
  u8 kind;
  load_item(item);
  kind = item_record.kind;
  if (kind >= ITEM_HEAL && kind <= ITEM_REVIVE) {
    if (!treat(item)) {
      if (in_battle) scr_clear(); /* the bag comes back on an empty screen */
      return 0;
    }
    bag_remove(item, 1);
    return 1;
  }
  if (!in_battle) return outside_battle(item);
  if (kind == ITEM_BALL) return ball(item);
  say("Not in a battle!");
  return 0;
}
