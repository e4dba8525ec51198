namespace HybridArchitectures.Training.Data;

/// <summary>Represents the header of a page.</summary>
/// <param name="Kind">0: values, 2: the dictionary, 3: values, version 2. Other kinds are skipped.</param>
/// <param name="HeaderBytes">The size of the header.</param>
/// <param name="CompressedBytes">The number of bytes after it.</param>
/// <param name="Bytes">The number of these bytes when uncompressed.</param>
/// <param name="Checksum">The CRC-32 of these bytes. Null if there is none.</param>
/// <param name="Values">The number of values of the page, including nulls.</param>
/// <param name="Encoding">The encoding of values.</param>
/// <param name="LevelEncoding">The encoding of definition levels, in version 1.</param>
/// <param name="DefinitionBytes">The size of definition levels, in version 2.</param>
/// <param name="RepetitionBytes">The size of repetition levels, in version 2.</param>
/// <param name="IsCompressed">Whether the values are compressed, in version 2.</param>
readonly record struct ParquetPage(
    int Kind, int HeaderBytes, int CompressedBytes, int Bytes, uint? Checksum, int Values, int Encoding, int LevelEncoding, int DefinitionBytes,
    int RepetitionBytes, bool IsCompressed)
{
    public const int Data = 0, Dictionary = 2, DataOfVersion2 = 3;

    /// <summary>Parses a header.</summary>
    /// <exception cref="EndOfStreamException">The header is longer than the bytes.</exception>
    public static ParquetPage Read(ReadOnlySpan<byte> bytes)
    {
        var reader = new ThriftReader(bytes);
        var page = new ParquetPage(-1, 0, -1, -1, null, -1, -1, 3, 0, 0, true);
        for (int id = 0; reader.NextField(ref id, out var type);)
            switch (id, type)
            {
                case (1, ThriftType.Int32):
                    page = page with { Kind = reader.ReadInt32() };
                    break;
                case (2, ThriftType.Int32):
                    page = page with { Bytes = reader.ReadInt32() };
                    break;
                case (3, ThriftType.Int32):
                    page = page with { CompressedBytes = reader.ReadInt32() };
                    break;
                case (4, ThriftType.Int32):
                    page = page with { Checksum = (uint)reader.ReadInt32() };
                    break;
                case (5 or 7 or 8, ThriftType.Struct):
                    page = page.WithKindsHeader(ref reader, isVersion2: id == 8);
                    break;
                default:
                    reader.Skip(type);
                    break;
            }
        return page with { HeaderBytes = reader.Position };
    }

    // DataPageHeader, DictionaryPageHeader and DataPageHeaderV2
    ParquetPage WithKindsHeader(ref ThriftReader reader, bool isVersion2)
    {
        var page = this;
        for (int id = 0; reader.NextField(ref id, out var type);)
        {
            if (isVersion2 && id == 7 && type is ThriftType.True or ThriftType.False) page = page with { IsCompressed = type == ThriftType.True };
            if (type != ThriftType.Int32)
            {
                reader.Skip(type);
                continue;
            }
            int value = reader.ReadInt32();
            page = (id, isVersion2) switch
            {
                (1, _) => page with { Values = value },
                (2, false) or (4, true) => page with { Encoding = value },
                (3, false) => page with { LevelEncoding = value },
                (5, true) => page with { DefinitionBytes = value },
                (6, true) => page with { RepetitionBytes = value },
                _ => page,
            };
        }
        return page;
    }
}
