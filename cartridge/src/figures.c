/* People and things on the map, the player's figure among them: pictures, places, shadow OAM, wandering. */
#pragma bank 2
#include "engine.h"

#define OBJECT_TILES ((u8 *)0x8000)
#define BALLOON_TILE 124
#define PICTURES 8

u8 figure_hidden[MAX_PEOPLE], figure_x[MAX_PEOPLE], figure_y[MAX_PEOPLE];
u8 figures_walking;
static u8 figure_tile[MAX_PEOPLE];  /* first tile of its picture */
static u8 figure_still[MAX_PEOPLE]; /* 1 = picture of 4 tiles */
static u8 figure_entry[MAX_PEOPLE]; /* its first entry in shadow OAM, 0 = not on the screen */
static u8 figure_left[MAX_PEOPLE];  /* frames of its step still to go */
static u8 loaded[PICTURES], loaded_tile[PICTURES], loaded_still[PICTURES], loaded_count, next_tile;
static u8 mirrored; /* alternates the walking leg of the player */

/* Loads a picture unless the map has it already; returns its place in loaded[]. */
static u8 load_picture(u8 picture) {
  u8 i;
  Picture p;
  for (i = 0; i < loaded_count; i++)
    if (loaded[i] == picture) return i;
  far_copy((u8 *)&p, DATA_BANK, (const u8 *)&picture_table[picture], sizeof(Picture));
  if (loaded_count == PICTURES || next_tile + p.n_tiles > BALLOON_TILE) return 0;
  video_copy(OBJECT_TILES + (u16)next_tile * 16, p.bank, p.tiles, p.n_tiles);
  loaded[i] = picture;
  loaded_tile[i] = next_tile;
  loaded_still[i] = p.n_tiles == 4;
  next_tile += p.n_tiles;
  loaded_count++;
  return i;
}

/* Keeps the pictures that the screen holds when all the map's are among them. */
static u8 pictures_suffice(void) {
  u8 i, j;
  if (!loaded_count) return 0;
  for (i = 0; i < map.n_people; i++) {
    for (j = 0; j < loaded_count; j++)
      if (loaded[j] == map_people[i].picture) break;
    if (j == loaded_count) return 0;
  }
  return 1;
}

static u8 missable_set(u8 bit) { return (wMissableObjectFlags[bit >> 3] >> (bit & 7)) & 1; }

void figures_refresh_hidden(void) {
  u8 i, m;
  for (i = 0; i < map.n_people; i++) {
    m = map_people[i].missable;
    figure_hidden[i] = m != 255 && missable_set(m);
    sprite1[i + 1].image = figure_hidden[i] ? 0xFF : 0;
    sprite1[i + 1].picture = figure_hidden[i] ? 0 : map_people[i].picture;
  }
}

void figures_load(void) {
  u8 i, k;
  const Person *p;
  if (!pictures_suffice()) {
    loaded_count = 0;
    next_tile = 0;
    load_picture(PICTURE_PLAYER);
    video_copy(OBJECT_TILES + BALLOON_TILE * 16, DATA_BANK, exclamation_tiles, 4);
  }
  for (i = 1; i < 16; i++) sprite1[i].picture = 0;
  p = map_people;
  for (i = 0; i < map.n_people; i++) {
    k = load_picture(p->picture);
    figure_tile[i] = loaded_tile[k];
    figure_still[i] = loaded_still[k];
    figure_x[i] = p->x;
    figure_y[i] = p->y;
    figure_left[i] = 0;
    figure_entry[i] = 0;
    sprite1[i + 1].facing = p->facing;
    sprite2[i + 1].map_x = p->x + 4;
    sprite2[i + 1].map_y = p->y + 4;
    p++;
  }
  figures_walking = 0;
  sprite1[0].picture = PICTURE_PLAYER;
  sprite2[0].map_x = wXCoord + 4;
  sprite2[0].map_y = wYCoord + 4;
  wNumSprites = map.n_people;
  figures_refresh_hidden();
}

static const u8 pose_of[4] = {0, 4, 8, 8}; /* facing / 4 to the first tile of the standing pose */

/* Four entries of shadow OAM get the tiles of a facing. */
static void put_tiles(u8 *entry, u8 first, u8 still, u8 facing, u8 walking, u8 mirror) {
  u8 t = first;
  if (!still) {
    t += pose_of[facing >> 2];
    if (walking) t += 12;
  }
  if (facing == DIR_RIGHT && !still) mirror = 1;
  if (mirror) {
    entry[2] = t + 1;
    entry[6] = t;
    entry[10] = t + 3;
    entry[14] = t + 2;
    mirror = 0x20;
  } else {
    entry[2] = t;
    entry[6] = t + 1;
    entry[10] = t + 2;
    entry[14] = t + 3;
  }
  entry[3] = mirror;
  entry[7] = mirror;
  entry[11] = mirror;
  entry[15] = mirror;
}

/* x, y: pixels on the screen; figures stand four pixels above the bottom of their cell. */
static void put_place(u8 *entry, u8 x, u8 y) {
  x += 8;
  y += 12;
  entry[0] = y;
  entry[4] = y;
  entry[8] = y + 8;
  entry[12] = y + 8;
  entry[1] = x;
  entry[9] = x;
  entry[5] = x + 8;
  entry[13] = x + 8;
}

void player_pose(u8 walking, u8 lift) {
  u8 facing = sprite1[0].facing;
  put_place(oam, 64, 64 - lift);
  if (walking && facing <= DIR_UP) mirrored ^= 1;
  put_tiles(oam, 0, 0, facing, walking, walking && facing <= DIR_UP && mirrored);
  oam_dirty = 1;
}

static void facing_delta(u8 facing, i8 *dx, i8 *dy) {
  *dx = facing == DIR_LEFT ? -1 : facing == DIR_RIGHT ? 1 : 0;
  *dy = facing == DIR_UP ? -1 : facing == DIR_DOWN ? 1 : 0;
}

static void clear_from(u8 *entry) {
  while (entry != oam + 160) {
    *entry = 0;
    entry += 4;
  }
  oam_dirty = 1;
}

/* Everybody within one cell of the screen gets four entries; the rest of shadow OAM is hidden. The screen shows the
 * player's present cell; the caller shifts while the player walks. */
void figures_show(void) {
  u8 i, sx, sy, left, *entry = oam + 16, *end = oam + 160;
  i8 dx, dy;
  player_pose(0, 0);
  for (i = 0; i < map.n_people; i++) {
    figure_entry[i] = 0;
    if (figure_hidden[i] || entry == end) continue;
    sx = figure_x[i] - wXCoord + 5; /* 0..11: within one cell of the ten columns */
    sy = figure_y[i] - wYCoord + 5;
    if (sx > 11 || sy > 10) continue;
    figure_entry[i] = (u8)(entry - oam);
    sx = (sx - 1) << 4;
    sy = (sy - 1) << 4;
    left = figure_left[i];
    if (left) {
      facing_delta(sprite1[i + 1].facing, &dx, &dy);
      sx -= dx * left;
      sy -= dy * left;
    }
    put_place(entry, sx, sy);
    put_tiles(entry, figure_tile[i], figure_still[i], sprite1[i + 1].facing, 0, 0);
    entry += 16;
  }
  figure_entries = (u8)(entry - oam - 16) >> 2;
  clear_from(entry);
}

void figures_clear(void) __banked { clear_from(oam); }

void figures_leave(void) { clear_from(oam + 16); }

void figures_cover(u8 x, u8 y, u8 w, u8 h) __banked {
  u8 *entry = oam, left = x * 8 + 1, top = y * 8 + 9, right = (x + w) * 8 + 8, bottom = (y + h) * 8 + 16;
  while (entry != oam + 160) {
    if (entry[0] >= top && entry[0] < bottom && entry[1] >= left && entry[1] < right) entry[0] = 0;
    entry += 4;
  }
  oam_dirty = 1;
}

u8 figure_at(u8 x, u8 y) {
  u8 i;
  for (i = 0; i < map.n_people; i++)
    if (figure_x[i] == x && figure_y[i] == y && !figure_hidden[i]) return i;
  return 255;
}

void figure_face(u8 who, u8 facing) {
  sprite1[who + 1].facing = facing;
  if (figure_entry[who]) {
    put_tiles(oam + figure_entry[who], figure_tile[who], figure_still[who], facing, 0, 0);
    oam_dirty = 1;
  }
}

void figure_balloon(u8 who) {
  u8 *entry = oam + 144, e = figure_entry[who], i;
  if (!e) return;
  put_place(entry, oam[e + 1] - 8, oam[e] - 28);
  for (i = 0; i < 4; i++) {
    entry[2] = BALLOON_TILE + i;
    entry[3] = 0;
    entry += 4;
  }
  oam_dirty = 1;
  wait_frames(30);
  figures_show();
}

void figure_walk(u8 who, u8 facing) {
  i8 dx, dy;
  facing_delta(facing, &dx, &dy);
  figure_face(who, facing);
  figure_x[who] += dx;
  figure_y[who] += dy;
  sprite2[who + 1].map_x = figure_x[who] + 4;
  sprite2[who + 1].map_y = figure_y[who] + 4;
  sprite1[who + 1].status = 3;
  figure_left[who] = 16;
  figures_walking++;
}

static void walk_one(u8 i) {
  u8 e = figure_entry[i], k, left = --figure_left[i], facing = sprite1[i + 1].facing;
  u8 *entry;
  if (e) {
    entry = oam + e;
    k = facing == DIR_LEFT || facing == DIR_UP ? 255 : 1;
    if (facing >= DIR_LEFT) entry++;
    entry[0] += k;
    entry[4] += k;
    entry[8] += k;
    entry[12] += k;
    if (left == 11 || left == 3)
      put_tiles(oam + e, figure_tile[i], figure_still[i], facing, left == 11, facing <= DIR_UP && (figure_x[i] ^ figure_y[i]) & 1);
    oam_dirty = 1;
  }
  if (!left) {
    figures_walking--;
    sprite1[i + 1].status = 1;
  }
}

static u8 wander(u8 i) {
  const Person *p = &map_people[i];
  u8 chance, facing, x, y;
  i8 dx, dy;
  if (p->movement == MOVE_STAND || figure_hidden[i] || figure_left[i] || !figure_entry[i]) return 0;
  chance = random8();
  if (chance & 7) return 0;
  facing = (chance >> 2) & 12;
  if (p->movement == MOVE_TURN) {
    figure_face(i, facing);
    return 1;
  }
  facing_delta(facing, &dx, &dy);
  x = figure_x[i] + dx;
  y = figure_y[i] + dy;
  if ((u8)(x - p->x + p->range) > 2 * p->range || (u8)(y - p->y + p->range) > 2 * p->range) return 0;
  if (!can_enter(x, y, facing, i)) {
    figure_face(i, facing);
    return 0;
  }
  figure_walk(i, facing);
  return 0;
}

/* Each person gets a thought every 16 frames. */
u8 figures_tick(void) {
  u8 i;
  if (figures_walking)
    for (i = 0; i < map.n_people; i++)
      if (figure_left[i]) {
        walk_one(i);
        if (!figure_left[i] && map_people[i].sight) return 1;
      }
  i = hFrame & 15;
  return i < map.n_people && wander(i);
}
