/* What the engine's own files share. */
#ifndef ENGINE_H
#define ENGINE_H
#include "data.h"
#include "game.h"

/* ---- crt0.s: bank 0, fast ---- */
void wait_vblank(void);
void wait_top(void);
void read_buttons(void);
void dma(void);
void draw_view(const u8 *top_left);
void show_row(u8 row);
void show_columns(u8 column);
void shift_figures(u16 dy_dx);
void copy_bytes(u8 *dst, const u8 *src); /* copy_count bytes, at least 1 */
void video_copy16(u8 *target, const u8 *source);
void hook_check_warps(void);
void hook_black_out(void);
void hook_sign(void);
void hook_sprite(void);
void hook_start_menu(void);
void hook_start_menu_again(void);

/* ---- home.c: bank 0 ---- */
void frame(void); /* the next frame: shows what is prepared, reads the buttons */
u16 far_peek16(u8 bank, const u8 *p);
void video_copy(u8 *target, u8 bank, const u8 *source, u16 tiles);
void save_bank(u8 on); /* cartridge RAM bank 0 (the save) instead of 1 (the map) */

extern u8 scroll_x, scroll_y;   /* SCX and SCY of the next frame */
extern u8 origin_x, origin_y;   /* where the 20 x 18 tiles lie in the screen's 32 x 32 map */
extern u16 copy_count;
extern u8 oam_dirty;
extern u8 figure_entries;       /* shadow OAM entries in use behind the player's four */
extern u8 new_strip;            /* strip of wTileMap that scrolls into view with the next frame: STRIP_* */
enum { STRIP_NONE = 0, STRIP_TOP = 1, STRIP_BOTTOM = 2, STRIP_LEFT = 3, STRIP_RIGHT = 4 };

/* ---- map.c: bank 2 ---- */
#define BORDER 6                                   /* cells around the map that hold its neighbours */
#define map_cells ((u8 *)0xA000)                   /* in cartridge RAM bank 1, with border; at most 5632 */
#define map_tiles ((u8 *)0xB600)                   /* four pages of 256 */
#define map_attributes ((u8 *)0xBA00)
#define MAX_WARPS 40
#define MAX_PEOPLE 12
#define MAX_SIGNS 32
#define MAX_HIDDEN 16
#define MAX_TRIGGERS 32
#define map_warps ((Warp *)0xBB00)
#define map_people ((Person *)0xBBA0)
#define map_signs ((Sign *)0xBC40)
#define map_hidden ((Hidden *)0xBCC0)
#define map_triggers ((Trigger *)0xBD20)
#define map_encounters ((Encounter *)0xBDA0)
#define map_row ((u8 **)0xBE00)                    /* start of each row of map_cells, border included: at most 160 */

typedef struct {
  u8 map;     /* 0xFF = no neighbour */
  i8 offset;
  u8 along;   /* its size along the edge */
  u8 across;  /* and away from it */
} Neighbour;

extern MapHeader map;
extern u8 map_home_bank;      /* ROM bank of the map's scripts */
extern u8 map_stride;         /* width + 2 * BORDER */
extern Neighbour neighbours[4]; /* by direction / 4 */
extern u8 tiles_dirty;        /* tiles 0-0x7F do not hold the tileset */

void map_load(u8 id) __banked;               /* header, cells, neighbours, people; not the picture */
void map_place(u8 id, u8 x, u8 y) __banked;
void map_enter(u8 id, u8 x, u8 y) __banked;  /* the same, with the player, tiles and picture */
void map_tileset_tiles(void) __banked;       /* tiles of the map's tileset if the screen lost them */
void map_redraw(void) __banked;              /* wTileMap from the player's place, shown; figures too */
u8 *map_cell(u8 x, u8 y);                    /* bank 2 only */
u8 map_attribute(u8 x, u8 y);                /* bank 2 only */

/* ---- figures.c: bank 2 ---- */
void figures_load(void);             /* people of the map, their pictures */
void figures_refresh_hidden(void);   /* after a missable bit changed */
void figures_show(void);             /* shadow OAM from scratch */
u8 figures_tick(void);               /* one frame of wandering and walking; 1 = somebody turned or arrived */
void figures_cover(u8 x, u8 y, u8 w, u8 h) __banked; /* hide what lies under a box, in tiles */
void figures_clear(void) __banked;
void figures_leave(void);            /* all but the player */
u8 figure_at(u8 x, u8 y);            /* index or 255 */
void figure_face(u8 who, u8 facing);
void figure_balloon(u8 who);         /* exclamation over its head for half a second */
void figure_walk(u8 who, u8 facing); /* starts a step of 16 frames */
void player_pose(u8 walking, u8 lift);
extern u8 figure_hidden[MAX_PEOPLE]; /* 1 = not on the map now */
extern u8 figure_x[MAX_PEOPLE], figure_y[MAX_PEOPLE]; /* cell, the one it walks to while it walks */
extern u8 figures_walking;           /* how many are between two cells */

/* ---- walk.c: bank 2 ---- */
void overworld_run(void) __banked;   /* never returns */
void player_push(u8 dir, u8 cells);  /* walked by a script */
void player_look(void);              /* wTileInFrontOfPlayer from place and facing */
u8 can_enter(u8 x, u8 y, u8 dir, u8 who); /* who: figure or 255 for the player */
void black_out(void);
void place_after_town(void);          /* pending_place = front of the last healing town */
extern u8 step_x, step_y;            /* cell the player walks to; its own while it stands */
extern u8 leave_menus;               /* set by a cut tree: every menu closes */
extern u8 warp_pending;              /* a script asked for pending_place after its end */
extern Place pending_place;

/* ---- script.c: bank 2 ---- */
void script_run(const u8 *script, u8 person); /* person 255 = none */
void front_cell(u8 *x, u8 *y, u8 cells);               /* bank 2 only */

/* ---- screen.c, text.c, menu.c, title.c: bank 5 ---- */
void font_load(void) __banked;
void ui_text_nowait(u16 text_id) __banked;
u8 ui_yes_no_as(u8 menu) __banked;           /* ui_yes_no under another menu id */
void text_close(void) __banked;              /* over the map: box gone, map back */
extern u8 screen_open;                       /* 1 between scr_open and scr_close */
void start_menu(void) __banked;
void shop_run(u8 shop) __banked;
void title_run(void) __banked;               /* title, continue or intro; the place is set afterwards */
void save_game(void) __banked;
u8 save_valid(void) __banked;
void save_load(void) __banked;
void money_add(u16 amount) __banked;
u8 money_pay(u16 amount) __banked;           /* 0 = not enough */
void money_halve(void) __banked;
void money_text(char *out) __banked;         /* seven characters and the end */
void put_number(char *out, u16 value, u8 width) __banked; /* right-aligned, no end */

#endif
