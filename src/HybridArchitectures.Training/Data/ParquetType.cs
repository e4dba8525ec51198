namespace HybridArchitectures.Training.Data;

/// <summary>Specifies the physical types of parquet, by their numbers in the format.</summary>
enum ParquetType
{
    Boolean, Int32, Int64, Int96, Float, Double, ByteArray, FixedLengthByteArray,
}
