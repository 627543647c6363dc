/* The map in cartridge RAM: its cells with six cells of its neighbours around, its tables, its tiles. */
#pragma bank 2
#include "engine.h"

MapHeader map;
u8 map_home_bank, map_stride;
Neighbour neighbours[4];
u8 tiles_dirty;

static u8 tiles_of;  /* 1 + tileset whose tiles the screen holds */
static u8 tables_of; /* 1 + tileset whose tables cartridge RAM holds */
static MapHeader other;

static u8 header_of(u8 id, MapHeader *out) {
  u8 bank = far_peek(DATA_BANK, &map_bank[id]);
  const u8 *header = (const u8 *)far_peek16(DATA_BANK, (const u8 *)&map_header[id]);
  far_copy((u8 *)out, bank, header, sizeof(MapHeader));
  return bank;
}

u8 *map_cell(u8 x, u8 y) { return map_row[(u8)(y + BORDER)] + (u8)(x + BORDER); }

u8 map_attribute(u8 x, u8 y) { return map_attributes[*map_cell(x, y)]; }

static void fill(u8 *p, u8 value, u16 n) {
  while (n--) *p++ = value;
}

/* The part of neighbour `other` (in ROM bank `bank`) that the border shows. */
static void copy_neighbour(u8 dir, u8 bank, i8 offset) {
  u8 rows, columns, from_x, from_y;
  i16 to_x, to_y, skip;
  const u8 *source;
  if (dir == DIR_UP || dir == DIR_DOWN) {
    rows = BORDER;
    columns = other.width;
    from_x = 0;
    from_y = dir == DIR_UP ? other.height - BORDER : 0;
    to_x = -(i16)offset;
    to_y = dir == DIR_UP ? -BORDER : map.height;
    skip = -BORDER - to_x;
    if (skip > 0) {
      from_x = (u8)skip;
      columns -= (u8)skip;
      to_x = -BORDER;
    }
    skip = to_x + columns - (map.width + BORDER);
    if (skip > 0) columns -= (u8)skip;
  } else {
    columns = BORDER;
    rows = other.height;
    from_y = 0;
    from_x = dir == DIR_LEFT ? other.width - BORDER : 0;
    to_y = -(i16)offset;
    to_x = dir == DIR_LEFT ? -BORDER : map.width;
    skip = -BORDER - to_y;
    if (skip > 0) {
      from_y = (u8)skip;
      rows -= (u8)skip;
      to_y = -BORDER;
    }
    skip = to_y + rows - (map.height + BORDER);
    if (skip > 0) rows -= (u8)skip;
  }
  source = other.cells + (u16)from_y * other.width + from_x;
  while (rows--) {
    far_copy(map_cell((u8)to_x, (u8)to_y), bank, source, columns);
    source += other.width;
    to_y++;
  }
}

static void load_neighbours(void) {
  u8 i, bank;
  Connection connection;
  Neighbour *n;
  for (i = 0; i < 4; i++) neighbours[i].map = 0xFF;
  for (i = 0; i < map.n_connections; i++) {
    far_copy((u8 *)&connection, map_home_bank, (const u8 *)&map.connections[i], sizeof(Connection));
    bank = header_of(connection.map, &other);
    n = &neighbours[connection.dir >> 2];
    n->map = connection.map;
    n->offset = connection.offset;
    if (connection.dir == DIR_UP || connection.dir == DIR_DOWN) {
      n->along = other.width;
      n->across = other.height;
    } else {
      n->along = other.height;
      n->across = other.width;
    }
    copy_neighbour(connection.dir, bank, connection.offset);
  }
}

static void load_tileset(void) {
  Tileset t;
  u8 i, *tile = map_tiles;
  const u8 *p;
  far_copy((u8 *)&t, DATA_BANK, (const u8 *)&tileset_table[map.tileset], sizeof(Tileset));
  far_copy(map_attributes, DATA_BANK, t.attributes, t.n_metatiles);
  tables_of = map.tileset + 1;
  /* four pages by corner, so that drawing looks a corner up by metatile alone */
  p = t.metatiles;
  far_copy(map_cells, DATA_BANK, p, (u16)t.n_metatiles * 4);
  p = map_cells;
  for (i = 0; i < t.n_metatiles; i++) {
    tile[0] = *p++;
    tile[0x100] = *p++;
    tile[0x200] = *p++;
    tile[0x300] = *p++;
    tile++;
  }
}

void map_load(u8 id) __banked {
  u8 y, *row;
  const u8 *cells;
  map_home_bank = header_of(id, &map);
  if (tables_of != map.tileset + 1) load_tileset();
  map_stride = map.width + 2 * BORDER;
  row = map_cells;
  for (y = 0; y < map.height + 2 * BORDER; y++) {
    map_row[y] = row;
    row += map_stride;
  }
  fill(map_cells, map.border, row - map_cells);
  cells = map.cells;
  for (y = 0; y < map.height; y++) {
    far_copy(map_cell(0, y), map_home_bank, cells, map.width);
    cells += map.width;
  }
  load_neighbours();
  if (map.n_warps > MAX_WARPS) map.n_warps = MAX_WARPS;
  far_copy((u8 *)map_warps, map_home_bank, (const u8 *)map.warps, (u16)map.n_warps * sizeof(Warp));
  far_copy((u8 *)map_people, map_home_bank, (const u8 *)map.people, (u16)map.n_people * sizeof(Person));
  far_copy((u8 *)map_signs, map_home_bank, (const u8 *)map.signs, (u16)map.n_signs * sizeof(Sign));
  far_copy((u8 *)map_hidden, map_home_bank, (const u8 *)map.hidden, (u16)map.n_hidden * sizeof(Hidden));
  far_copy((u8 *)map_triggers, map_home_bank, (const u8 *)map.triggers, (u16)map.n_triggers * sizeof(Trigger));
  if (map.encounter_rate)
    far_copy((u8 *)map_encounters, map_home_bank, (const u8 *)map.encounters, 10 * sizeof(Encounter));
}

/* Place and map change together, right after a frame began: no frame may end with a place outside the map. */
void map_place(u8 id, u8 x, u8 y) __banked {
  wCurMap = id;
  wXCoord = x;
  wYCoord = y;
  wCurMapTileset = map.tileset;
  wCurMapHeight = map.height >> 1;
  wCurMapWidth = map.width >> 1;
}

void map_tileset_tiles(void) __banked {
  Tileset t;
  if (!tiles_dirty && tiles_of == map.tileset + 1) return;
  far_copy((u8 *)&t, DATA_BANK, (const u8 *)&tileset_table[map.tileset], sizeof(Tileset));
  video_copy((u8 *)0x9000, t.bank, t.tiles, t.n_tiles);
  tiles_of = map.tileset + 1;
  tiles_dirty = 0;
}

void map_redraw(void) __banked {
  u8 row;
  draw_view(map_cell(wXCoord - 4, wYCoord - 4));
  figures_show();
  for (row = 0; row < 18; row++) {
    if (!(row & 3)) frame();
    show_row(row);
  }
}

void map_enter(u8 id, u8 x, u8 y) __banked {
  map_load(id);
  figures_clear();
  rBGP = 0; /* white while tiles change */
  frame();
  map_place(id, x, y);
  wMovementFlags = 0;
  map_tileset_tiles();
  figures_load();
  map_redraw();
  player_look();
  rBGP = 0xE4;
}
