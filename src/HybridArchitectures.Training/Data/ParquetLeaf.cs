namespace HybridArchitectures.Training.Data;

/// <summary>Describes a column of a parquet file.</summary>
/// <param name="Path">The name, with the names of the groups that contain it.</param>
/// <param name="Index">The index of the column.</param>
/// <param name="Type">The stored type. Null if the file does not specify it.</param>
/// <param name="Meaning">The meaning of the bytes if it is not text. Null if they are text or unspecified.</param>
/// <param name="Levels">How many of the column and the groups around it can be null.</param>
/// <param name="IsRepeated">Whether the column is, or is inside, a list.</param>
sealed record ParquetLeaf(string Path, int Index, ParquetType? Type, string? Meaning, int Levels, bool IsRepeated);
