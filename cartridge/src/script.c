/* The interpreter of the maps' scripts. Their bytes lie in the map's bank. */
#pragma bank 2
#include "engine.h"

static const u8 *script_start, *script_at;
static u8 speaker; /* figure that is talked to, 255 = none */

static u8 next8(void) { return far_peek(map_home_bank, script_at++); }

static u16 next16(void) {
  u16 value = far_peek16(map_home_bank, script_at);
  script_at += 2;
  return value;
}

static void jump_if(u8 condition) {
  u16 target = next16();
  if (condition) script_at = script_start + target;
}

static void heal(void) {
  u8 town = map.n_warps ? map_warps[0].dest_map : 0;
  hook_far(0x1C, 0x4433);
  party_heal();
  wait_frames(20);
  if (town <= 11) wLastBlackoutMap = town;
  hook_far(0x01, 0x7090);
}

/* 0 = lost, the script ends */
static u8 battle(u8 trainer) {
  ui_state = UI_BUSY;
  if (battle_trainer(trainer) == BATTLE_LOST) {
    black_out();
    return 0;
  }
  if (screen_open) scr_close();
  if (speaker != 255 && map_people[speaker].beaten_event != 0xFFFF) event_set(map_people[speaker].beaten_event);
  return 1;
}

static void show_missable(u8 bit, u8 hide) {
  u8 mask = 1 << (bit & 7);
  if (hide)
    wMissableObjectFlags[bit >> 3] |= mask;
  else
    wMissableObjectFlags[bit >> 3] &= ~mask;
  figures_refresh_hidden();
}

static void story_byte(u8 set) {
  volatile u8 *p = (volatile u8 *)next16();
  u8 value = next8();
  *p = set ? value : *p | value;
}

static void give_item(void) {
  u8 item = next8(), n = next8();
  jump_if(!bag_add(item, n));
}

static void give_creature(void) {
  u8 species = next8();
  party_add(species, next8());
}

static void warp(void) {
  pending_place.map = next8();
  pending_place.x = next8();
  pending_place.y = next8();
  pending_place.facing = sprite1[0].facing;
  warp_pending = 1;
}

static void push(void) {
  u8 dir = next8();
  if (wFontLoaded) text_close();
  player_push(dir, next8());
}

/* 0 = the script ends */
static u8 story_op(u8 op) {
  u8 a;
  u16 event;
  switch (op) {
  case OP_IF_EVENT: event = next16(); jump_if(event_get(event)); break;
  case OP_IF_NO_EVENT: event = next16(); jump_if(!event_get(event)); break;
  case OP_SET_EVENT: event_set(next16()); break;
  case OP_CLEAR_EVENT: event_clear(next16()); break;
  case OP_IF_ITEM: a = next8(); jump_if(bag_has(a)); break;
  case OP_GIVE_ITEM: give_item(); break;
  case OP_TAKE_ITEM: bag_remove(next8(), 1); break;
  case OP_IF_BADGE: a = next8(); jump_if((wObtainedBadges >> a) & 1); break;
  case OP_GIVE_BADGE: wObtainedBadges |= 1 << next8(); break;
  case OP_HIDE: show_missable(next8(), 1); break;
  case OP_SHOW: show_missable(next8(), 0); break;
  case OP_POKE: story_byte(1); break;
  case OP_OR: story_byte(0); break;
  default: return 0;
  }
  return 1;
}

/* 0 = the script ends */
static u8 scene_op(u8 op) {
  switch (op) {
  case OP_SAY: ui_text(next16()); break;
  case OP_ASK: ui_text_nowait(next16()); jump_if(!ui_yes_no()); break;
  case OP_JUMP: jump_if(1); break;
  case OP_BATTLE: return battle(next8());
  case OP_HEAL: heal(); break;
  case OP_SHOP: shop_run(next8()); break;
  case OP_PUSH: push(); break;
  case OP_FACE_PLAYER:
    if (speaker != 255) figure_face(speaker, sprite1[0].facing ^ 4);
    break;
  case OP_GIVE_MON: give_creature(); break;
  case OP_GIVE_MONEY: money_add(next16()); break;
  case OP_WARP: warp(); break;
  default: return story_op(op);
  }
  return 1;
}

void script_run(const u8 *script, u8 person) {
  u8 home = wCurMap;
  ui_state = UI_BUSY;
  speaker = person;
  script_start = script;
  script_at = script;
  while (scene_op(next8())) {}
  if (wCurMap == home) {
    if (wFontLoaded)
      text_close();
    else
      figures_show();
  }
  player_look();
  hPressed = 0;
}
