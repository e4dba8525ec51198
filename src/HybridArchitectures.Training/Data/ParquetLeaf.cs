namespace HybridArchitectures.Training;

/// <summary>A column of a parquet file.</summary>
/// <param name="Path">Its name, after those of the groups around it.</param>
/// <param name="Index">Its place among the columns.</param>
/// <param name="Type">What is stored; null where the file does not say.</param>
/// <param name="Meaning">What the stored bytes mean, if that is no text; null if they are text or nothing is said.</param>
/// <param name="Levels">How many of the column and the groups around it may be null.</param>
/// <param name="IsRepeated">Whether it is, or is inside, a list.</param>
sealed record ParquetLeaf(string Path, int Index, ParquetType? Type, string? Meaning, int Levels, bool IsRepeated);
