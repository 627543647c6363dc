/* The 20 x 18 tiles of the screen outside of scrolling: boxes, text, numbers, pictures, message box. */
#pragma bank 5
#include "engine.h"

#define MESSAGE_TOP 12

u8 screen_open;
static u8 dirty_first, dirty_end; /* rows that differ from the screen; end 0 = none */
static u8 message_x, message_line;
static u8 yes_no_under[30];

static void touch(u8 first, u8 last) {
  if (!dirty_end || first < dirty_first) dirty_first = first;
  if (last >= dirty_end) dirty_end = last + 1;
}

static u8 *tile_at(u8 x, u8 y) { return wTileMap + (u16)y * 20 + x; }

void scr_flush(void) __banked {
  u8 row, rows = 0;
  for (row = dirty_first; row < dirty_end; row++) {
    if (!(rows & 3)) frame();
    show_row(row);
    rows++;
  }
  dirty_end = 0;
}

void scr_clear(void) __banked {
  u8 *p = wTileMap;
  while (p != wTileMap + 360) *p++ = UI_TILE_BLANK;
  touch(0, 17);
}

void scr_open(void) __banked {
  screen_open = 1;
  wFontLoaded = 1;
  figures_clear();
  scr_clear();
  scr_flush();
}

void scr_close(void) __banked {
  if (!screen_open) return;
  screen_open = 0;
  if (tiles_dirty) {
    scr_clear();
    scr_flush();
    map_tileset_tiles();
  }
  dirty_end = 0;
  map_redraw();
  wFontLoaded = 0;
}

void text_close(void) __banked {
  dirty_end = 0;
  if (!screen_open) map_redraw();
  wFontLoaded = 0;
  hPressed = 0;
}

void scr_put(u8 x, u8 y, u8 tile) __banked {
  *tile_at(x, y) = tile;
  touch(y, y);
}

static void print_from(u8 bank, u8 x, u8 y, const char *s) {
  u8 c, *p = tile_at(x, y);
  touch(y, y);
  while ((c = far_peek(bank, (const u8 *)s++)) != 0) {
    if (c == '\n') {
      y += 1;
      p = tile_at(x, y);
      touch(y, y);
    } else {
      *p++ = c + 0x80;
    }
  }
}

void scr_print(u8 x, u8 y, const char *s) __banked {
  u8 bank = hCallerBank;
  print_from(bank, x, y, s);
}

void put_number(char *out, u16 value, u8 width) __banked {
  do {
    out[--width] = '0' + (u8)(value % 10);
    value /= 10;
  } while (value && width);
  while (width) out[--width] = ' ';
}

void scr_number(u8 x, u8 y, u16 value, u8 width) __banked {
  char digits[6];
  if (width > 5) width = 5;
  put_number(digits, value, width);
  digits[width] = 0;
  print_from(0, x, y, digits);
}

void scr_box(u8 x, u8 y, u8 w, u8 h) __banked {
  u8 row, i, left, middle, right, *p;
  if (!screen_open) {
    figures_cover(x, y, w, h);
    wFontLoaded = 1;
  }
  touch(y, y + h - 1);
  for (row = 0; row < h; row++) {
    p = tile_at(x, y + row);
    if (row == 0) {
      left = UI_TILE_TL;
      middle = UI_TILE_H;
      right = UI_TILE_TR;
    } else if (row == h - 1) {
      left = UI_TILE_BL;
      middle = UI_TILE_H;
      right = UI_TILE_BR;
    } else {
      left = UI_TILE_V;
      middle = UI_TILE_BLANK;
      right = UI_TILE_V;
    }
    *p++ = left;
    for (i = 2; i < w; i++) *p++ = middle;
    *p = right;
  }
}

void scr_picture(u8 x, u8 y, u8 species, u8 back) __banked {
  CreaturePicture picture;
  u8 i, j, tile = back ? 0x20 : 0;
  u8 *p;
  far_copy((u8 *)&picture, DATA_BANK, (const u8 *)&creature_picture_table[species], sizeof(CreaturePicture));
  if (!picture.front) return;
  tiles_dirty = 1;
  video_copy((u8 *)0x9000 + (u16)tile * 16, picture.bank, back ? picture.back : picture.front, 25);
  touch(y, y + 4);
  for (i = 0; i < 5; i++) {
    p = tile_at(x, y + i);
    for (j = 0; j < 5; j++) *p++ = tile++;
  }
}

void font_load(void) __banked {
  video_copy((u8 *)0x8800, DATA_BANK, font_tiles, 128);
}

/* ---- message box ---- */

/* Waits until A or B goes down; the triangle shows that it waits. */
static void wait_a(void) {
  scr_put(18, 16, UI_TILE_MORE);
  scr_flush();
  ui_state = UI_TEXT;
  do {
    frame();
  } while (!(hPressed & (J_A | J_B)));
  ui_state = UI_BUSY;
  scr_put(18, 16, UI_TILE_BLANK);
}

static void message_open(void) {
  scr_box(0, MESSAGE_TOP, 20, 6);
  message_x = 1;
  message_line = 0;
}

static void message_next_line(void) {
  message_x = 1;
  if (message_line++) {
    wait_a();
    message_open();
  }
}

static void message(u8 bank, const char *s, u8 waits) {
  u8 c;
  message_open();
  while ((c = far_peek(bank, (const u8 *)s++)) != 0) {
    if (c == '\f') {
      wait_a();
      message_open();
    } else if (c == '\n') {
      message_next_line();
    } else {
      if (message_x == 19) message_next_line();
      *tile_at(message_x++, MESSAGE_TOP + 2 + (message_line << 1)) = c + 0x80;
    }
  }
  if (waits)
    wait_a();
  else
    scr_flush();
}

void ui_message(const char *s) __banked {
  u8 bank = hCallerBank;
  message(bank, s, 1);
}

void ui_message_nowait(const char *s) __banked {
  u8 bank = hCallerBank;
  message(bank, s, 0);
}

void ui_text(u16 text_id) __banked {
  u8 bank = far_peek(DATA_BANK, &text_bank[text_id]);
  message(bank, (const char *)far_peek16(DATA_BANK, (const u8 *)&text_ptr[text_id]), 1);
}

void ui_text_nowait(u16 text_id) __banked {
  u8 bank = far_peek(DATA_BANK, &text_bank[text_id]);
  message(bank, (const char *)far_peek16(DATA_BANK, (const u8 *)&text_ptr[text_id]), 0);
}

/* ---- choosing ---- */

u8 joy_wait(u8 menu) __banked {
  scr_flush();
  ui_menu = menu;
  ui_state = UI_MENU;
  do {
    frame();
  } while (!hPressed);
  ui_state = UI_BUSY;
  ui_menu = MENU_NONE;
  return hPressed;
}

u8 ui_choose_from(u8 menu, u8 x, u8 y, u8 n, u8 start, u8 step) __banked {
  u8 at = start, pressed;
  if (at >= n) at = 0;
  ui_count = n;
  wMaxMenuItem = n - 1;
  for (;;) {
    scr_put(x, y + at * step, UI_TILE_CURSOR);
    ui_cursor = at;
    wCurrentMenuItem = at;
    pressed = joy_wait(menu);
    if (pressed & J_A) {
      scr_put(x, y + at * step, UI_TILE_CURSOR_OFF);
      return at;
    }
    if (pressed & J_B || (menu == MENU_START && pressed & J_START)) return 255;
    scr_put(x, y + at * step, UI_TILE_BLANK);
    if (pressed & J_DOWN) at = at + 1 == n ? 0 : at + 1;
    if (pressed & J_UP) at = at ? at - 1 : n - 1;
  }
}

u8 ui_choose(u8 menu, u8 x, u8 y, u8 n) __banked { return ui_choose_from(menu, x, y, n, 0, 2); }

/* What the small box covers comes back afterwards. */
u8 ui_yes_no_as(u8 menu) __banked {
  u8 choice, row, *p, *q = yes_no_under;
  for (row = 7; row < 12; row++) {
    p = tile_at(14, row);
    while (p != wTileMap + (u16)(row + 1) * 20) *q++ = *p++;
  }
  scr_box(14, 7, 6, 5);
  print_from(hBank, 16, 8, "YES\n\nNO");
  choice = ui_choose_from(menu, 15, 8, 2, 0, 2);
  q = yes_no_under;
  for (row = 7; row < 12; row++) {
    p = tile_at(14, row);
    while (p != wTileMap + (u16)(row + 1) * 20) *p++ = *q++;
  }
  touch(7, 11);
  return choice == 0;
}

u8 ui_yes_no(void) __banked { return ui_yes_no_as(MENU_YESNO); }
