/* The player on the map: steps of 16 frames, doors, edges, ledges, grass, what a press of A meets. */
#pragma bank 2
#include "engine.h"

#define TILESET_GYM 7
#define TILESET_CAVERN 17
#define TREE_TILE 0x3D
#define GYM_TREE_TILE 0x50
#define WATER_TILE 0x14
#define MOVE_CUT 0x0F

u8 step_x, step_y, leave_menus, warp_pending;
Place pending_place;
static u8 step_dir, step_frame; /* 0 = the player stands */
static u8 jumping;              /* 2, 1: cells of a ledge jump still to go */
static u8 crossing;             /* the step leaves the map: neighbour's index + 1 */

static u8 outside(u8 x, u8 y) { return x >= map.width || y >= map.height; }

/* The neighbour that the edge in this direction leads to from x, y; 0 = none there, else its index + 1. */
static u8 neighbour_beyond(u8 dir, u8 x, u8 y) {
  const Neighbour *n = &neighbours[dir >> 2];
  u8 along = dir <= DIR_UP ? x : y;
  if (n->map == 0xFF || (u8)(along + n->offset) >= n->along) return 0;
  return (dir >> 2) + 1;
}

static u8 is_warp(u8 x, u8 y) {
  u8 i;
  for (i = 0; i < map.n_warps; i++)
    if (map_warps[i].x == x && map_warps[i].y == y) return 1;
  return 0;
}

u8 can_enter(u8 x, u8 y, u8 dir, u8 who) {
  u8 attribute;
  if (outside(x, y) && (who != 255 || !neighbour_beyond(dir, x, y))) return 0;
  attribute = map_attribute(x, y);
  if (attribute != MT_WALK && attribute != MT_GRASS && attribute != MT_DOOR) return 0;
  if (who != 255 && is_warp(x, y)) return 0; /* nobody blocks a door */
  if (who != 255 && ((x == step_x && y == step_y) || (x == wXCoord && y == wYCoord))) return 0;
  return figure_at(x, y) == 255;
}

static u8 ledge_in(u8 dir, u8 attribute) {
  return (attribute == MT_LEDGE_DOWN && dir == DIR_DOWN) || (attribute == MT_LEDGE_LEFT && dir == DIR_LEFT) ||
         (attribute == MT_LEDGE_RIGHT && dir == DIR_RIGHT);
}

static void ahead(u8 dir, u8 *x, u8 *y) {
  switch (dir) {
  case DIR_DOWN: ++*y; break;
  case DIR_UP: --*y; break;
  case DIR_LEFT: --*x; break;
  default: ++*x;
  }
}

void front_cell(u8 *x, u8 *y, u8 cells) {
  *x = wXCoord;
  *y = wYCoord;
  while (cells--) ahead(sprite1[0].facing, x, y);
}

void player_look(void) {
  u8 x, y, metatile, attribute;
  front_cell(&x, &y, 1);
  metatile = *map_cell(x, y);
  attribute = map_attributes[metatile];
  if (attribute == MT_TREE)
    wTileInFrontOfPlayer = map.tileset == TILESET_GYM ? GYM_TREE_TILE : TREE_TILE;
  else if (attribute == MT_WATER)
    wTileInFrontOfPlayer = WATER_TILE;
  else
    wTileInFrontOfPlayer = map_tiles[0x200 + metatile];
}

/* ---- steps ---- */

/* Scrolls one pixel with the next frame. */
static void scroll_on(void) {
  switch (step_dir) {
  case DIR_DOWN: scroll_y++; shift_figures(0xFF00); break;
  case DIR_UP: scroll_y--; shift_figures(0x0100); break;
  case DIR_LEFT: scroll_x--; shift_figures(0x0001); break;
  default: scroll_x++; shift_figures(0x00FF);
  }
  if (figure_entries) oam_dirty = 1;
}

static void begin_step(u8 dir) {
  ui_state = UI_BUSY;
  step_dir = dir;
  sprite1[0].facing = dir;
  step_x = wXCoord;
  step_y = wYCoord;
  ahead(dir, &step_x, &step_y);
  crossing = outside(step_x, step_y) ? neighbour_beyond(dir, step_x, step_y) : 0;
  figures_show();
  draw_view(map_cell(step_x - 4, step_y - 4));
  switch (dir) {
  case DIR_DOWN: origin_y += 2; new_strip = STRIP_BOTTOM; break;
  case DIR_UP: origin_y -= 2; new_strip = STRIP_TOP; break;
  case DIR_LEFT: origin_x -= 2; new_strip = STRIP_LEFT; break;
  default: origin_x += 2; new_strip = STRIP_RIGHT;
  }
  origin_x &= 31;
  origin_y &= 31;
  step_frame = 1;
  scroll_on();
}

/* Turns to dir and walks that way if the way is free; walking needs no turn of its own. */
static void try_step(u8 dir) {
  u8 x = wXCoord, y = wYCoord;
  ahead(dir, &x, &y);
  if (can_enter(x, y, dir, 255)) {
    begin_step(dir);
    return;
  }
  if (ledge_in(dir, map_attribute(x, y)) && !outside(x, y)) {
    ahead(dir, &x, &y);
    if (can_enter(x, y, dir, 255)) {
      jumping = 2;
      wMovementFlags |= 0x80;
      begin_step(dir);
      return;
    }
  }
  if (sprite1[0].facing != dir) {
    sprite1[0].facing = dir;
    player_pose(0, 0);
    player_look();
  }
}

static const u8 lifts[8] = {4, 7, 9, 11, 12, 13, 14, 14};

static void step_on(void) {
  u8 arc;
  step_frame++;
  if (jumping) {
    arc = (jumping == 2 ? step_frame : (u8)(17 - step_frame)) >> 1;
    if (!(step_frame & 1)) player_pose(1, lifts[arc > 7 ? 7 : arc]);
  } else if (step_frame == 5) {
    player_pose(1, 0);
  } else if (step_frame == 13) {
    player_pose(0, 0);
  }
  scroll_on();
}

static void cross_edge(void) {
  const Neighbour *n = &neighbours[crossing - 1];
  u8 id = n->map, x = step_x, y = step_y;
  switch (step_dir) {
  case DIR_DOWN: x += n->offset; y = 0; break;
  case DIR_UP: x += n->offset; y = n->across - 1; break;
  case DIR_LEFT: y += n->offset; x = n->across - 1; break;
  default: y += n->offset; x = 0;
  }
  map_load(id);
  map_tileset_tiles();
  figures_leave();
  frame();
  map_place(id, x, y);
  figures_load();
  figures_show();
  draw_view(map_cell(x - 4, y - 4));
}

static void go_to(u8 id, u8 x, u8 y) {
  map_enter(id, x, y);
  step_x = x;
  step_y = y;
}

static void take_warp(const Warp *w) {
  MapHeader destination;
  Warp arrival;
  u8 bank, dest = w->dest_map, index = w->dest_warp;
  hWarpDestinationMap = dest;
  wDestinationWarpID = index;
  hook_check_warps();
  wWarpedFromWhichMap = wCurMap;
  if (map.outdoor) wLastMap = wCurMap;
  bank = far_peek(DATA_BANK, &map_bank[dest]);
  far_copy((u8 *)&destination, bank, (const u8 *)far_peek16(DATA_BANK, (const u8 *)&map_header[dest]), sizeof(MapHeader));
  far_copy((u8 *)&arrival, bank, (const u8 *)&destination.warps[index], sizeof(Warp));
  go_to(dest, arrival.x, arrival.y);
}

static u8 warp_here(void) {
  u8 i;
  const Warp *w = map_warps;
  for (i = 0; i < map.n_warps; i++) {
    if (w->x == wXCoord && w->y == wYCoord) {
      take_warp(w);
      return 1;
    }
    w++;
  }
  return 0;
}

static u8 trigger_here(void) {
  u8 i;
  const Trigger *t = map_triggers;
  for (i = 0; i < map.n_triggers; i++) {
    if (t->x == wXCoord && t->y == wYCoord) {
      script_run(t->script, 255);
      return 1;
    }
    t++;
  }
  return 0;
}

/* ---- trainers ---- */

static u8 sees_player(u8 i) {
  const Person *p = &map_people[i];
  u8 x, y, cells, facing;
  if (!p->sight || p->beaten_event == 0xFFFF || figure_hidden[i] || event_get(p->beaten_event)) return 0;
  x = figure_x[i];
  y = figure_y[i];
  if (x != wXCoord && y != wYCoord) return 0;
  facing = sprite1[i + 1].facing;
  for (cells = 0; cells < p->sight; cells++) {
    ahead(facing, &x, &y);
    if (x == wXCoord && y == wYCoord) return cells + 1;
    if (outside(x, y) || !can_enter(x, y, facing, i)) return 0;
  }
  return 0;
}

/* A trainer who sees the player walks up and speaks. */
static u8 trainer_here(void) {
  u8 i, cells, facing;
  for (i = 0; i < map.n_people; i++) {
    cells = sees_player(i);
    if (!cells) continue;
    ui_state = UI_BUSY;
    while (figures_walking) {
      frame();
      figures_tick();
    }
    figures_show();
    figure_balloon(i);
    facing = sprite1[i + 1].facing;
    while (--cells) {
      figure_walk(i, facing);
      while (figures_walking) {
        frame();
        figures_tick();
      }
    }
    sprite1[0].facing = facing ^ 4; /* face to face: 0-4, 8-12 */
    player_pose(0, 0);
    player_look();
    hSpriteIndexOrTextID = i + 1;
    hook_sprite();
    script_run(map_people[i].script, i);
    return 1;
  }
  return 0;
}

/* ---- grass ---- */

static const u8 slot_chance[9] = {51, 102, 141, 166, 191, 216, 229, 242, 253};

static u8 encounter_here(void) {
  u8 slot, chance, attribute;
  const Encounter *e;
  if (!map.encounter_rate) return 0;
  attribute = map_attribute(wXCoord, wYCoord);
  if (attribute != MT_GRASS && (map.tileset != TILESET_CAVERN || attribute == MT_DOOR)) return 0;
  if (random8() >= map.encounter_rate) return 0;
  chance = random8();
  for (slot = 0; slot < 9; slot++)
    if (chance < slot_chance[slot]) break;
  e = &map_encounters[slot];
  wCurEnemyLevel = e->level;
  hook_far(0x04, 0x78ED);
  if (wRepelRemainingSteps && wCurEnemyLevel < wPartyMons[0].level) return 0;
  ui_state = UI_BUSY;
  if (battle_wild(e->species, wCurEnemyLevel) == BATTLE_LOST) {
    black_out();
  } else {
    if (screen_open) scr_close();
    figures_show();
  }
  return 1;
}

static void halfway(void) {
  jumping = 0;
  wXCoord = step_x;
  wYCoord = step_y;
  sprite2[0].map_x = wXCoord + 4;
  sprite2[0].map_y = wYCoord + 4;
  jumping = 1;
  begin_step(step_dir);
}

/* 1 = the player may walk on at once */
static u8 end_step(void) {
  if (jumping == 2) {
    halfway();
    return 0;
  }
  step_frame = 0;
  if (jumping) {
    jumping = 0;
    wMovementFlags &= 0x7F;
    player_pose(0, 0);
  }
  if (crossing) {
    cross_edge();
  } else {
    wXCoord = step_x;
    wYCoord = step_y;
  }
  step_x = wXCoord;
  step_y = wYCoord;
  sprite2[0].map_x = wXCoord + 4;
  sprite2[0].map_y = wYCoord + 4;
  player_look();
  if (wRepelRemainingSteps) wRepelRemainingSteps--;
  return !(warp_here() || trigger_here() || trainer_here() || encounter_here());
}

void player_push(u8 dir, u8 cells) {
  u8 x, y;
  while (cells--) {
    x = wXCoord;
    y = wYCoord;
    ahead(dir, &x, &y);
    if (outside(x, y) || !can_enter(x, y, dir, 255)) return;
    begin_step(dir);
    while (step_frame < 16) {
      frame();
      figures_tick();
      step_on();
    }
    frame();
    step_frame = 0;
    wXCoord = step_x;
    wYCoord = step_y;
    sprite2[0].map_x = wXCoord + 4;
    sprite2[0].map_y = wYCoord + 4;
  }
  figures_show();
  player_look();
}

/* ---- A ---- */

static u8 talk(u8 x, u8 y) {
  u8 who = figure_at(x, y);
  if (who == 255) return 0;
  ui_state = UI_BUSY;
  hSpriteIndexOrTextID = who + 1;
  hook_sprite();
  script_run(map_people[who].script, who);
  return 1;
}

static u8 read_sign(u8 x, u8 y) {
  u8 i;
  const Sign *s = map_signs;
  for (i = 0; i < map.n_signs; i++) {
    if (s->x == x && s->y == y) {
      ui_state = UI_BUSY;
      hSpriteIndexOrTextID = map.n_people + i + 1;
      hook_sign();
      script_run(s->script, 255);
      return 1;
    }
    s++;
  }
  return 0;
}

static void found_message(u8 item) {
  char line[32];
  u8 n = 0;
  const char *s = "You found\n";
  while (*s) line[n++] = *s++;
  item_name(item, line + n);
  while (line[n]) n++;
  line[n++] = '!';
  line[n] = 0;
  ui_message(line);
}

static u8 find_hidden(u8 x, u8 y) {
  u8 i;
  const Hidden *h = map_hidden;
  for (i = 0; i < map.n_hidden; i++, h++) {
    if (h->x != x || h->y != y || event_get(h->event)) continue;
    ui_state = UI_BUSY;
    wHiddenObjectIndex = i;
    hook_far(0x11, 0x69F0);
    if (bag_add(h->item, 1)) {
      event_set(h->event);
      found_message(h->item);
    } else {
      ui_message("The bag is full.");
    }
    text_close();
    return 1;
  }
  return 0;
}

static u8 tree_ahead(void) {
  u8 x, y;
  front_cell(&x, &y, 1);
  return !outside(x, y) && map_attribute(x, y) == MT_TREE;
}

static void press_a(void) {
  u8 x, y;
  front_cell(&x, &y, 1);
  if (talk(x, y) || read_sign(x, y)) return;
  if (map_attribute(x, y) == MT_COUNTER) {
    front_cell(&x, &y, 2);
    talk(x, y);
    return;
  }
  if (find_hidden(x, y)) return;
  if (tree_ahead()) {
    ui_state = UI_BUSY;
    if ((wObtainedBadges & 1) && party_knows(MOVE_CUT)) {
      overworld_cut();
    } else {
      ui_message("A thin tree. It\ncould be cut down.");
      text_close();
    }
  }
}

u8 overworld_cut(void) __banked {
  u8 x, y;
  if (screen_open) scr_close();
  if (!tree_ahead() || !(wObtainedBadges & 1)) {
    hook_far(0x03, 0x6F77);
    ui_message(tree_ahead() ? "A badge is needed\nto cut here." : "There is nothing\nto cut.");
    text_close();
    return 0;
  }
  player_look();
  hook_far(0x03, 0x6F82);
  ui_message("The thin tree\nwas cut down!");
  front_cell(&x, &y, 1);
  *map_cell(x, y) = far_peek(DATA_BANK, &tileset_table[map.tileset].cut_metatile);
  leave_menus = 1;
  text_close();
  player_look();
  return 1;
}

/* ---- blackout ---- */

void place_after_town(void) {
  Place p;
  u8 town = wLastBlackoutMap;
  if (town > 11) town = 0;
  far_copy((u8 *)&p, DATA_BANK, (const u8 *)&town_place[town], sizeof(Place));
  if (p.map == 0xFF) far_copy((u8 *)&p, DATA_BANK, (const u8 *)&start_place, sizeof(Place));
  pending_place = p;
}

void black_out(void) {
  ui_state = UI_BUSY;
  hook_black_out();
  money_halve();
  party_heal();
  wIsInBattle = 0;
  place_after_town();
  screen_open = 0;
  tiles_dirty = 1;
  sprite1[0].facing = pending_place.facing;
  go_to(pending_place.map, pending_place.x, pending_place.y);
  wFontLoaded = 0;
}

/* ---- the loop ---- */

static void stand(void) {
  u8 held = hHeld, pressed = hPressed;
  if (pressed & J_START) {
    ui_state = UI_BUSY;
    start_menu();
  } else if (pressed & J_A) {
    press_a();
  } else if (held & J_DOWN) {
    try_step(DIR_DOWN);
  } else if (held & J_UP) {
    try_step(DIR_UP);
  } else if (held & J_LEFT) {
    try_step(DIR_LEFT);
  } else if (held & J_RIGHT) {
    try_step(DIR_RIGHT);
  }
}

static void script_warp(void) {
  if (!warp_pending) return;
  warp_pending = 0;
  sprite1[0].facing = pending_place.facing;
  go_to(pending_place.map, pending_place.x, pending_place.y);
}

void overworld_run(void) __banked {
  u8 free;
  go_to(pending_place.map, pending_place.x, pending_place.y);
  for (;;) {
    frame();
    free = !step_frame;
    if (figures_tick() && free && trainer_here()) {
      free = 0;
    } else if (step_frame == 16) {
      free = end_step();
    } else if (step_frame) {
      step_on();
    }
    script_warp();
    if (free) {
      ui_state = UI_OVERWORLD;
      stand();
      script_warp();
    }
  }
}
