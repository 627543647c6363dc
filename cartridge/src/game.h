/* What the C files of the cartridge share: RAM of the map, and who offers which function.
 * engine = overworld, text, menus, scripts, boot; battle = battles, party, items. All banked functions take and return
 * at most 16 bits. No initialised globals; each file's statics go to _DATA.
 */
#ifndef GAME_H
#define GAME_H
#include "format.h"
#include "ram.h" /* engine owns it: every symbol of the RAM map as __at(...) volatile, plus ui_state 0xCD81, ui_menu 0xCD82, ui_cursor 0xCD83, ui_count 0xCD84 (entries) */

/* ---- engine: bank 0, callable from every bank without __banked ---- */
u8 far_peek(u8 bank, const u8 *p);
void far_copy(u8 *dst, u8 bank, const u8 *src, u16 n);
void hook_far(u8 bank, u16 addr);              /* pass a ROM address that upstream hooks */
u8 random8(void);                              /* deterministic: state in RAM, advanced on call and by frames spent waiting for input */
void wait_frames(u8 n);                        /* HALT-based */
u8 event_get(u16 event); void event_set(u16 event); void event_clear(u16 event);

/* ---- engine: screen (20x18 tiles, all drawing goes to wTileMap; scr_flush shows it) ---- */
void scr_open(void) __banked;                  /* leave the scrolling map: blank 20x18 screen, sprites hidden */
void scr_close(void) __banked;                 /* back to the overworld picture */
void scr_clear(void) __banked;
void scr_put(u8 x, u8 y, u8 tile) __banked;
void scr_print(u8 x, u8 y, const char *s) __banked;      /* s in RAM, bank 0 or the caller's bank, ASCII, '\n' goes to x on the next line */
void scr_number(u8 x, u8 y, u16 value, u8 width) __banked; /* right-aligned */
void scr_box(u8 x, u8 y, u8 w, u8 h) __banked;           /* frame and blank inside, outer size */
void scr_flush(void) __banked;
void scr_picture(u8 x, u8 y, u8 species, u8 back) __banked; /* 5x5 tiles creature picture, loads its tiles */
void ui_message(const char *s) __banked;       /* bottom box (rows 12-17), two lines of 18, '\n' new line, '\f' wait for A and clear; waits for A at the end */
void ui_message_nowait(const char *s) __banked;
void ui_text(u16 text_id) __banked;            /* the same for a text of the data banks; works over the overworld picture as well */
u8 ui_choose(u8 menu, u8 x, u8 y, u8 n) __banked;  /* cursor '>' at x, rows y, y+2..: UP/DOWN/A/B; returns 0..n-1, 255 for B; keeps wCurrentMenuItem, ui_* */
u8 ui_choose_from(u8 menu, u8 x, u8 y, u8 n, u8 start, u8 step) __banked; /* the same with first cursor and row distance */
u8 ui_yes_no(void) __banked;                   /* 1 = yes */
u8 joy_wait(u8 menu) __banked;                 /* wait for a newly pressed button, returns its mask (J_*) */
enum { J_RIGHT = 1, J_LEFT = 2, J_UP = 4, J_DOWN = 8, J_A = 16, J_B = 32, J_SELECT = 64, J_START = 128 };

/* ---- engine: bag ---- */
u8 bag_add(u8 item, u8 n) __banked;            /* 0 = full. At most 19 kinds, at least one always stays (RAM invariant) */
void bag_remove(u8 item, u8 n) __banked;
u8 bag_has(u8 item) __banked;                  /* quantity */
u8 bag_screen(u8 in_battle) __banked;          /* full bag menu; returns the item used, 255 = closed */
void money_add(u16 amount) __banked;

/* ---- battle ---- */
enum { BATTLE_WON = 1, BATTLE_LOST = 2, BATTLE_RAN = 3, BATTLE_CAUGHT = 4 };
void party_new_game(void) __banked;            /* one cut-capable starter, bag with one kind, money, dex: RAM invariants hold from here */
u8 battle_wild(u8 species, u8 level) __banked;
u8 battle_trainer(u8 trainer) __banked;
u8 party_add(u8 species, u8 level) __banked;   /* 0 = party full */
void party_heal(void) __banked;
u8 party_alive(void) __banked;                 /* number of creatures with HP */
u8 party_knows(u8 move) __banked;              /* 1 + slot of the first that knows it, 0 = none */
void party_screen(u8 menu) __banked;           /* START > party: list, action box STATS / SWITCH / CUT, stats page; passes its hooks */
u8 item_use(u8 item, u8 in_battle) __banked;   /* potion, ball, repel, HM...: 1 = consumed or done, 0 = no effect (says why) */
void item_name(u8 item, char *out) __banked;   /* at most 12 characters */
void species_name(u8 species, char *out) __banked; /* at most 10 */
void move_name(u8 move, char *out) __banked;   /* at most 12 */
u16 item_price(u8 item) __banked;              /* 0 = cannot be sold or tossed */
u8 shop_item(u8 shop, u8 index) __banked;      /* what a shop sells; 0 = no more */
u8 overworld_cut(void) __banked;               /* engine: cut the tree in front; 1 = done; passes UsedCut hooks */

#endif
