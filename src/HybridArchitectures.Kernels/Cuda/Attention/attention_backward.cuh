// The sizes of the blocks of the backward kernel of attention.
#pragma once
#include "attention.cuh"

#ifndef ATT_TILE
#define ATT_TILE 128  // queries at a time: 128, or 64 if a head has more than 64 elements
#endif

constexpr int KeyGroups = 2, Keys = 64 * KeyGroups, Queries = ATT_TILE, QuerySteps = Queries / 16;
constexpr int KeySize = DTiles * Keys * 64, ValueSize = ETiles * Keys * 64, QuerySize = DTiles * Queries * 64, GradientSize = ETiles * Queries * 64,
    PairSize = KeyGroups * Queries * 64;
// The part of each group in dQ: 64 of the queries, or PartColumns of the columns.
constexpr bool RowParts = Queries == Keys;
constexpr int PartColumns = RowParts ? D : 64 * DTiles / KeyGroups, SumColumns = RowParts ? D : 64 * DTiles, SumsSize = Queries * SumColumns;
constexpr int RecordSize = 8 + BoundInts * Queries;  // the ints of the record of a step

static_assert(RowParts || (Queries == 64 && PartColumns % 32 == 0), "how dQ is divided");
