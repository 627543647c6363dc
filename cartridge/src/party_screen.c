/* The list of the party, what can be done with a member, its page. */
#pragma bank 7
#include "creature.h"
#include "message.h"

void draw_health(u8 x, u8 y, u16 hp, u16 max) __banked {
  u8 i, pixels, part;
  if (hp > max) hp = max;
  pixels = max ? hp * 48u / max : 0;
  if (hp && !pixels) pixels = 1;
  scr_put(x, y, UI_TILE_BAR_LEFT);
  for (i = 0; i < 6; i++) {
    part = pixels > 8 ? 8 : pixels;
    pixels -= part;
    scr_put(x + 1 + i, y, UI_TILE_BAR_0 + part);
  }
  scr_put(x + 7, y, UI_TILE_BAR_RIGHT);
}

static void print_status(u8 x, u8 y, const Creature *c) {
  const char *word = 0;
  if (!big_endian(c->hp))
    word = "DOWN";
  else if (c->status & STATUS_POISON)
    word = "PSND";
  else if (c->status & STATUS_PARALYSIS)
    word = "NUMB";
  else if (c->status & STATUS_SLEEP)
    word = "DOZE";
  if (word) scr_print(x, y, word);
}

static void print_hp(u8 x, u8 y, const Creature *c) {
  scr_number(x, y, big_endian(c->hp), 3);
  scr_print(x + 3, y, "/");
  scr_number(x + 4, y, big_endian(c->max_hp), 3);
}

static void draw_list(void) {
  u8 slot, y = 0;
  const Creature *c = wPartyMons;
  char name[11];
  scr_clear();
  for (slot = 0; slot < wPartyCount; slot++, c++, y += 2) {
    party_name(slot, name);
    scr_print(1, y, name);
    scr_put(12, y, UI_TILE_LEVEL);
    scr_number(13, y, c->level, 3);
    print_status(16, y, c);
    draw_health(2, y + 1, big_endian(c->hp), big_endian(c->max_hp));
    print_hp(12, y + 1, c);
  }
}

u8 party_choose(u8 menu, u8 start, u8 may_cancel) __banked {
  u8 choice;
  if (!screen_open) scr_open();
  do {
    draw_list();
    ui_message_nowait(message_line);
    choice = ui_choose_from(menu, 0, 0, wPartyCount, start, 2);
  } while (choice == 255 && !may_cancel);
  return choice;
}

static void swap_members(u8 a, u8 b) {
  u8 i, t, *p = (u8 *)&wPartyMons[a], *q = (u8 *)&wPartyMons[b];
  for (i = 0; i < sizeof(Creature); i++) {
    t = p[i];
    p[i] = q[i];
    q[i] = t;
  }
  p = wPartyMonNicks + a * 11;
  q = wPartyMonNicks + b * 11;
  for (i = 0; i < 11; i++) {
    t = p[i];
    p[i] = q[i];
    q[i] = t;
  }
  t = wPartySpecies[a];
  wPartySpecies[a] = wPartySpecies[b];
  wPartySpecies[b] = t;
}

static void draw_moves(const Creature *c) {
  u8 i;
  char name[13];
  for (i = 0; i < 4 && c->moves[i]; i++) {
    move_name(c->moves[i], name);
    scr_print(1, 13 + i, name);
    scr_number(14, 13 + i, c->pp[i] & 63, 2);
    scr_print(16, 13 + i, "/");
    scr_number(17, 13 + i, move_record.pp, 2);
  }
}

static void stats_page(u8 slot) {
  const Creature *c = &wPartyMons[slot];
  char name[11];
  hook_far(0x04, 0x7149);
  scr_clear();
  party_name(slot, name);
  scr_print(9, 1, name);
  scr_put(9, 2, UI_TILE_LEVEL);
  scr_number(10, 2, c->level, 3);
  print_status(15, 2, c);
  draw_health(9, 3, big_endian(c->hp), big_endian(c->max_hp));
  print_hp(10, 4, c);
  scr_print(1, 7, "ATTACK\nDEFENSE\nSPEED\nSPECIAL");
  scr_number(14, 7, big_endian(c->attack), 3);
  scr_number(14, 8, big_endian(c->defense), 3);
  scr_number(14, 9, big_endian(c->speed), 3);
  scr_number(14, 10, big_endian(c->special), 3);
  scr_box(0, 12, 20, 6);
  draw_moves(c);
  scr_picture(1, 1, c->species, 0);
  ui_cursor = 0;
  ui_count = 1;
  while (!(joy_wait(MENU_STATS) & (J_A | J_B))) {
  }
}

/* Returns 1 when the map has changed under the menu. */
static u8 member_action(u8 slot) {
  u8 choice, other, cuts = 0, i, n = 3;
  for (i = 0; i < 4; i++) {
    wFieldMoves[i] = 0;
    if (wPartyMons[slot].moves[i] == MOVE_CUT) cuts = 1;
  }
  wFieldMoves[2] = cuts; /* at the index of its entry: observers scroll until the move under the cursor is the one */
  if (cuts) n = 4;
  scr_box(11, 8, 9, n * 2 + 2);
  scr_print(13, 9, cuts ? "STATS\n\nSWITCH\n\nCUT\n\nCANCEL" : "STATS\n\nSWITCH\n\nCANCEL");
  choice = ui_choose(MENU_PARTY_ACTION, 12, 9, n);
  if (choice == 0) {
    stats_page(slot);
  } else if (choice == 1) {
    message_build("Swap with whom?");
    other = party_choose(MENU_SWITCH, slot, 1);
    if (other != 255 && other != slot) swap_members(slot, other);
  } else if (choice == 2 && cuts) {
    return overworld_cut();
  }
  return 0;
}

void party_screen(u8 menu) __banked {
  u8 slot = 0;
  hook_far(0x04, 0x70A9);
  for (;;) {
    message_build("Choose one.");
    slot = party_choose(menu, slot, 1);
    if (slot == 255 || member_action(slot)) break;
  }
  scr_close();
}
