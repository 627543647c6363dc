/* Reading the tables of BATTLE_DATA_BANK. */
#pragma bank 7
#include "creature.h"

SpeciesRecord species_record;
MoveRecord move_record;
ItemRecord item_record;

void load_species(u8 species) __banked {
  u8 row = far_peek(BATTLE_DATA_BANK, &species_index[species]);
  far_copy((u8 *)&species_record, BATTLE_DATA_BANK, (const u8 *)&species_table[row], sizeof(SpeciesRecord));
}

void load_move(u8 move) __banked {
  u8 row = far_peek(BATTLE_DATA_BANK, &move_index[move]);
  far_copy((u8 *)&move_record, BATTLE_DATA_BANK, (const u8 *)&move_table[row], sizeof(MoveRecord));
}

void load_item(u8 item) __banked {
  u8 row = far_peek(BATTLE_DATA_BANK, &item_index[item]);
  far_copy((u8 *)&item_record, BATTLE_DATA_BANK, (const u8 *)&item_table[row], sizeof(ItemRecord));
}

u8 type_factor(u8 attacker, u8 defender) __banked {
  if (attacker >= N_TYPES || defender >= N_TYPES) return 10;
  return far_peek(BATTLE_DATA_BANK, &type_chart[(u16)attacker * N_TYPES + defender]);
}

u8 move_factor(u8 type, const Creature *target) __banked {
  u8 factor = type_factor(type, target->type1);
  if (target->type2 != target->type1) factor = (u16)factor * type_factor(type, target->type2) / 10;
  return factor;
}

static void copy_name(char *out, const char *name) {
  while ((*out++ = *name++) != 0) {
  }
}

void species_name(u8 species, char *out) __banked {
  load_species(species);
  copy_name(out, species_record.name);
}

void move_name(u8 move, char *out) __banked {
  load_move(move);
  copy_name(out, move_record.name);
}

void item_name(u8 item, char *out) __banked {
  load_item(item);
  copy_name(out, item_record.name);
}

u16 item_price(u8 item) __banked {
  load_item(item);
  return item_record.price;
}

u8 shop_item(u8 shop, u8 index) __banked {
  const Shop *p = &shop_table[shop];
  if (shop >= far_peek(BATTLE_DATA_BANK, &n_shops) || index >= far_peek(BATTLE_DATA_BANK, &p->n)) return 0;
  return far_peek(BATTLE_DATA_BANK, &p->items[index]);
}
