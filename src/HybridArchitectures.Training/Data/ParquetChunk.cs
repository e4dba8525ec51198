namespace HybridArchitectures.Training.Data;

/// <summary>Describes one column of one row group, as in the directory of the file.</summary>
/// <param name="Rows">The number of rows of the group.</param>
/// <param name="Values">The number of values of the column, including nulls.</param>
/// <param name="Codec">The compression of pages.</param>
/// <param name="Start">The offset of the first page.</param>
/// <param name="Bytes">The number of bytes of the pages in the file.</param>
readonly record struct ParquetChunk(long Rows, long Values, int Codec, long Start, long Bytes);
