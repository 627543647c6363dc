/* Title screen, continue, intro. */
#pragma bank 5
#include "engine.h"

static void title_picture(void) {
  TitleScreen t;
  far_copy((u8 *)&t, DATA_BANK, (const u8 *)&title_screen, sizeof(TitleScreen));
  scr_open();
  tiles_dirty = 1;
  video_copy((u8 *)0x9000, t.bank, t.tiles, t.n_tiles);
  scr_clear(); /* every row is to be shown */
  far_copy(wTileMap, t.bank, t.cells, 360);
}

/* 1 = go on with the saved game */
static u8 title_choice(void) {
  u8 choice;
  do {
    scr_box(4, 10, 12, 6);
    scr_print(6, 12, "CONTINUE\n\nNEW GAME");
    choice = ui_choose(MENU_TITLE, 5, 12, 2);
  } while (choice == 255);
  return choice == 0;
}

static u8 title_wait(void) {
  title_picture();
  scr_print(4, 15, "PRESS START");
  ui_cursor = 0;
  ui_count = 1;
  while (!(joy_wait(MENU_TITLE) & (J_START | J_A))) {}
  return save_valid() && title_choice();
}

static void intro(void) {
  u8 i, choice;
  u16 texts[4];
  char line[13];
  far_copy((u8 *)texts, DATA_BANK, (const u8 *)intro_texts, sizeof(texts));
  scr_open();
  ui_text(texts[0]);
  ui_text(texts[1]);
  do {
    scr_box(3, 2, 14, 8);
    for (i = 0; i < 3; i++) {
      far_copy((u8 *)line, DATA_BANK, (const u8 *)intro_choices[i], sizeof(line));
      scr_print(5, 4 + 2 * i, line);
    }
    choice = ui_choose(MENU_INTRO, 4, 4, 3);
  } while (choice != 0);
  scr_clear();
  ui_text(texts[2]);
  ui_text(texts[3]);
}

void title_run(void) __banked {
  ui_state = UI_BUSY;
  far_copy((u8 *)&pending_place, DATA_BANK, (const u8 *)&start_place, sizeof(Place));
  wCurMap = pending_place.map;
  wXCoord = pending_place.x;
  wYCoord = pending_place.y;
  if (title_wait())
    save_load();
  else
    intro();
  sprite1[0].facing = pending_place.facing;
  screen_open = 0;
  wFontLoaded = 0;
}
