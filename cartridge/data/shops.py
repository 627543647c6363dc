"""Shops: shop id -> items on sale, by name."""

SHOPS: dict[int, list[str]] = {
    0: ["CATCH ORB", "HERB TONIC", "BITTER LEAF", "WARD SPRAY"],
    1: ["CATCH ORB", "HERB TONIC", "BITTER LEAF", "LIMBER OIL", "WARD SPRAY"],
    2: ["CATCH ORB", "GOOD ORB", "HERB TONIC", "DEEP TONIC", "CURE ALL", "WARD SPRAY"],
}
