/* START menu, bag, shop, save. */
#pragma bank 5
#include "engine.h"

#define NO_ITEM 255
#define ROWS 4
enum { START_DEX, START_PARTY, START_BAG, START_SAVE, START_EXIT, START_ENTRIES };

static u8 list_shop;   /* 255 = the bag is listed, else this shop */
static u8 list_length; /* without CANCEL */

static u8 list_item(u8 i) { return list_shop == 255 ? wBagItems[i << 1] : shop_item(list_shop, i); }

static void list_draw(u8 scroll) {
  u8 row, i, item;
  char line[16];
  scr_box(4, 2, 16, 2 * ROWS + 2);
  for (row = 0; row < ROWS; row++) {
    i = scroll + row;
    if (i == list_length) scr_print(6, 3 + 2 * row, "CANCEL");
    if (i >= list_length) break;
    item = list_item(i);
    item_name(item, line);
    scr_print(6, 3 + 2 * row, line);
    if (list_shop == 255) {
      if (item_price(item)) {
        scr_print(15, 4 + 2 * row, "x");
        scr_number(16, 4 + 2 * row, wBagItems[(i << 1) + 1], 2);
      }
    } else {
      scr_print(12, 4 + 2 * row, "$");
      scr_number(13, 4 + 2 * row, item_price(item), 5);
    }
  }
  if (scroll + ROWS <= list_length) scr_put(18, 2 * ROWS + 2, UI_TILE_MORE);
}

/* A scrolling list with CANCEL at its end; returns the index, 255 = cancelled. */
static u8 list_choose(u8 menu, u8 at) {
  u8 scroll, pressed, row;
  if (at > list_length) at = list_length;
  scroll = at < ROWS ? 0 : at - ROWS + 1;
  for (;;) {
    list_draw(scroll);
    row = at - scroll;
    scr_put(5, 3 + 2 * row, UI_TILE_CURSOR);
    ui_cursor = at;
    ui_count = list_length + 1;
    wCurrentMenuItem = row;
    wListScrollOffset = scroll;
    pressed = joy_wait(menu);
    if (pressed & J_B) return NO_ITEM;
    if (pressed & J_A) return at == list_length ? NO_ITEM : at;
    if (pressed & J_DOWN && at < list_length) at++;
    if (pressed & J_UP && at) at--;
    if (at < scroll) scroll = at;
    if (at >= scroll + ROWS) scroll = at - ROWS + 1;
  }
}

static void toss(u8 item) {
  if (!item_price(item)) {
    ui_message("That is too\nimportant to toss!");
    return;
  }
  ui_message_nowait("Throw one away?");
  if (ui_yes_no()) bag_remove(item, 1);
}

static u8 item_action(void) {
  scr_box(13, 10, 7, 5);
  scr_print(15, 11, "USE");
  scr_print(15, 13, "TOSS");
  return ui_choose(MENU_BAG_ACTION, 14, 11, 2);
}

u8 bag_screen(u8 in_battle) __banked {
  u8 at = 0, item, action;
  hook_far(0x04, 0x7302);
  for (;;) {
    list_shop = 255;
    list_length = wNumBagItems;
    at = list_choose(in_battle ? MENU_BATTLE_BAG : MENU_BAG, at);
    if (at == NO_ITEM) return NO_ITEM;
    item = wBagItems[at << 1];
    wBagSavedMenuItem = wCurrentMenuItem;
    hook_far(0x04, 0x733F);
    action = in_battle ? 0 : item_action();
    if (action == 0) {
      if (item_use(item, in_battle)) {
        if (in_battle) return item;
      }
      if (leave_menus) return item;
    } else if (action == 1) {
      toss(item);
    }
    if (!in_battle) {
      if (screen_open) scr_close();
      text_close();
      wFontLoaded = 1;
    }
  }
}

/* ---- shop ---- */

static void money_box(void) {
  char line[9];
  scr_box(11, 0, 9, 3);
  money_text(line);
  scr_print(12, 1, line);
}

static void shop_buy(u8 shop) {
  u8 at = 0, item;
  for (;;) {
    list_shop = shop;
    list_length = 0;
    while (shop_item(shop, list_length)) list_length++;
    money_box();
    at = list_choose(MENU_SHOP_BUY, at);
    if (at == NO_ITEM) return;
    item = shop_item(shop, at);
    if (!bag_add(item, 1)) {
      ui_message("You cannot carry\nany more.");
    } else if (!money_pay(item_price(item))) {
      bag_remove(item, 1);
      ui_message("You do not have\nenough money.");
    } else {
      money_box();
      ui_message("Here you are!\nThank you!");
    }
  }
}

static void shop_sell(void) {
  u8 at = 0, item;
  for (;;) {
    list_shop = 255;
    list_length = wNumBagItems;
    money_box();
    at = list_choose(MENU_BAG, at);
    if (at == NO_ITEM) return;
    item = wBagItems[at << 1];
    if (!item_price(item)) {
      ui_message("I cannot put a\nprice on that.");
      continue;
    }
    ui_message_nowait("Half its price for\none. All right?");
    if (ui_yes_no()) {
      money_add(item_price(item) >> 1);
      bag_remove(item, 1);
    }
    if (!screen_open) text_close();
  }
}

void shop_run(u8 shop) __banked {
  u8 choice, at = 0;
  for (;;) {
    text_close();
    scr_box(0, 0, 10, 8);
    scr_print(2, 2, "BUY\n\nSELL\n\nQUIT");
    money_box();
    choice = ui_choose_from(MENU_SHOP, 1, 2, 3, at, 2);
    if (choice == 0)
      shop_buy(shop);
    else if (choice == 1)
      shop_sell();
    else
      break;
    at = choice;
  }
  text_close();
}

/* ---- save: D158..D8A3 of the RAM map in cartridge RAM bank 0 ---- */

#define SAVED ((u8 *)0xD158)
#define SAVED_SIZE 0x74C
#define SAVE_MARK ((volatile u8 *)0xA000) /* four letters, checksum, then the bytes */
#define SAVE_BYTES ((u8 *)0xA010)

static u16 checksum(const u8 *p) {
  u16 n = SAVED_SIZE, a = 0x1234;
  while (n--) a = (a << 1) + (a >> 15) + *p++;
  return a;
}

u8 save_valid(void) __banked {
  u8 valid = 0;
  u16 sum;
  save_bank(1);
  if (SAVE_MARK[0] == 'P' && SAVE_MARK[1] == 'R' && SAVE_MARK[2] == 'A' && SAVE_MARK[3] == 'C') {
    sum = checksum(SAVE_BYTES);
    valid = SAVE_MARK[4] == (u8)sum && SAVE_MARK[5] == (u8)(sum >> 8);
  }
  save_bank(0);
  return valid;
}

void save_game(void) __banked {
  u16 sum;
  save_bank(1);
  SAVE_MARK[0] = 0;
  far_copy(SAVE_BYTES, hBank, SAVED, SAVED_SIZE);
  SAVE_MARK[6] = sprite1[0].facing;
  sum = checksum(SAVE_BYTES);
  SAVE_MARK[4] = (u8)sum;
  SAVE_MARK[5] = (u8)(sum >> 8);
  SAVE_MARK[1] = 'R';
  SAVE_MARK[2] = 'A';
  SAVE_MARK[3] = 'C';
  SAVE_MARK[0] = 'P';
  save_bank(0);
}

/* All within one frame, so that nobody sees half a game: the copy takes 148 of its 154 lines. */
void save_load(void) __banked {
  u8 facing;
  frame();
  save_bank(1);
  far_copy(SAVED, hBank, SAVE_BYTES, SAVED_SIZE);
  facing = SAVE_MARK[6];
  save_bank(0);
  pending_place.map = wCurMap;
  pending_place.x = wXCoord;
  pending_place.y = wYCoord;
  pending_place.facing = facing;
  wIsInBattle = 0;
  wEnemyPartyCount = 0;
}

static void save_menu(void) {
  ui_message_nowait("Save the game?");
  if (!ui_yes_no_as(MENU_SAVE)) return;
  save_game();
  ui_message("The game was\nsaved.");
}

/* ---- START ---- */

static u8 bits_set(const volatile u8 *p, u8 n) {
  u8 count = 0, b;
  while (n--)
    for (b = *p++; b; b >>= 1) count += b & 1;
  return count;
}

static void dex_page(void) {
  u8 i;
  char line[9];
  scr_open();
  scr_box(0, 0, 20, 11);
  scr_print(2, 2, "SEEN\n\nCAUGHT\n\nMONEY\n\nBADGES");
  scr_number(15, 2, bits_set(wPokedexSeen, 19), 3);
  scr_number(15, 4, bits_set(wPokedexOwned, 19), 3);
  money_text(line);
  scr_print(11, 6, line);
  for (i = 0; i < 8; i++) scr_put(10 + i, 8, (wObtainedBadges >> i) & 1 ? UI_TILE_BADGE : UI_TILE_NO_BADGE);
  ui_message("Your journey so\nfar.");
  scr_close();
}

void start_menu(void) __banked {
  u8 choice;
  leave_menus = 0;
  hook_start_menu();
  for (;;) {
    scr_box(10, 0, 10, 12);
    scr_print(12, 2, "DEX\n\nPARTY\n\nBAG\n\nSAVE\n\nEXIT");
    choice = ui_choose_from(MENU_START, 11, 2, START_ENTRIES, wBattleAndStartSavedMenuItem, 2);
    if (choice >= START_EXIT) break;
    wBattleAndStartSavedMenuItem = choice;
    switch (choice) {
    case START_DEX: dex_page(); break;
    case START_PARTY: party_screen(MENU_PARTY); break;
    case START_BAG: bag_screen(0); break;
    default: save_menu();
    }
    if (screen_open) scr_close();
    text_close();
    if (leave_menus) break;
    hook_start_menu_again();
  }
  text_close();
}
