namespace HybridArchitectures.Training;

/// <summary>One column of one row group, as the file's directory describes it.</summary>
/// <param name="Rows">Rows of the group.</param>
/// <param name="Values">Values of the column, those that are null included.</param>
/// <param name="Codec">How pages are compressed.</param>
/// <param name="Start">Where the first page begins.</param>
/// <param name="Bytes">How many bytes the pages take in the file.</param>
readonly record struct ParquetChunk(long Rows, long Values, int Codec, long Start, long Bytes);
