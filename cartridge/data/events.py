"""Names of the bits that scripts may use, with their numbers in the RAM map.

EVENTS: index into wEventFlags (byte 0xD747 + index // 8, bit index % 8). Only bits that have a name in the RAM map may
be set; `HIDDEN_` bits (0xA00 and up) lie in wObtainedHiddenItemsFlags. MISSABLES: bits of wMissableObjectFlags that
hide a person or an item ball when set. BADGES and ITEMS: numbers of the RAM map.
"""

EVENTS = {
    "FOLLOWED_OAK_INTO_LAB": 0x000,
    "GOT_TOWN_MAP": 0x018,
    "ENTERED_BLUES_HOUSE": 0x019,
    "FOLLOWED_OAK_INTO_LAB_2": 0x020,
    "OAK_ASKED_TO_CHOOSE_MON": 0x021,
    "GOT_STARTER": 0x022,
    "BATTLED_RIVAL_IN_OAKS_LAB": 0x023,
    "GOT_POKEBALLS_FROM_OAK": 0x024,
    "GOT_POKEDEX": 0x025,
    "OAK_GOT_PARCEL": 0x038,
    "GOT_OAKS_PARCEL": 0x039,
    "BEAT_PEWTER_GYM_TRAINER_0": 0x072,
    "BEAT_BROCK": 0x077,
    "BEAT_CERULEAN_GYM_TRAINER_0": 0x0BA,
    "BEAT_CERULEAN_GYM_TRAINER_1": 0x0BB,
    "GOT_TM11": 0x0BE,
    "BEAT_MISTY": 0x0BF,
    "GOT_POTION_SAMPLE": 0x3C0,
    "BEAT_ROUTE_3_TRAINER_0": 0x3E2,
    "BEAT_ROUTE_3_TRAINER_1": 0x3E3,
    "BEAT_ROUTE_4_TRAINER_0": 0x3F2,
    "BEAT_VIRIDIAN_FOREST_TRAINER_0": 0x562,
    "BEAT_MT_MOON_1_TRAINER_0": 0x571,
    "BEAT_MT_MOON_1_TRAINER_1": 0x572,
    "GOT_HM01": 0x5E0,
    "HIDDEN_FOREST": 0xA00,
    "HIDDEN_ROUTE_4": 0xA01,
    "HIDDEN_CERULEAN": 0xA02,
}

MISSABLES = {
    "ROUTE_2_ITEM_1": 25,
    "ROUTE_2_ITEM_2": 26,
    "ROUTE_4_ITEM": 27,
    "VIRIDIAN_FOREST_ITEM_1": 100,
    "VIRIDIAN_FOREST_ITEM_2": 101,
    "MT_MOON_1F_ITEM_1": 103,
    "MT_MOON_1F_ITEM_2": 104,
    "OAKS_LAB_RIVAL": 42,
    "MUSEUM_GUY": 3,
}

BADGES = {"BOULDER": 0, "CASCADE": 1}

ITEMS = {
    "POKE_BALL": 0x04,
    "MOON_STONE": 0x0A,
    "ANTIDOTE": 0x0B,
    "POTION": 0x14,
    "REPEL": 0x1E,
    "RARE_CANDY": 0x28,
    "NUGGET": 0x31,
    "SUPER_POTION": 0x13,
    "OAKS_PARCEL": 0x46,
    "HM_01": 0xC4,
    "TM_11": 0xD3,
}

# numbers of the battle tables, used where data/trainers.py and data/shops.py do not name them
TRAINERS = {
    "FOREST_BOY": 1,
    "RIVAL": 2,
    "STONE_PUPIL": 3,
    "STONE_LEADER": 4,
    "ROUTE_3_BOY": 5,
    "ROUTE_3_GIRL": 6,
    "CAVE_HIKER": 7,
    "CAVE_SNEAK": 8,
    "ROUTE_4_GIRL": 9,
    "TIDE_PUPIL_A": 10,
    "TIDE_PUPIL_B": 11,
    "TIDE_LEADER": 12,
}
SHOPS = {"TOWN_1": 0, "TOWN_2": 1, "TOWN_3": 2}

# story bytes of the RAM map that a script may write with POKE / OR
ADDRESSES: dict[str, int] = {}
