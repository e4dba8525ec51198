namespace HybridArchitectures.Training.Data;

/// <summary>
/// Parses the directory at the end of a parquet file (https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift,
/// FileMetaData): the columns, and the position of one of them in each row group. All sizes and positions are compared with those of the file.
/// </summary>
sealed class ParquetDirectory
{
    const int MaxColumns = 1 << 16, NamesShown = 20;

    readonly List<ParquetLeaf> leaves = [];
    readonly List<ParquetChunk> chunks = [];
    readonly long dataEnd;
    readonly string wanted;
    ParquetLeaf? column;
    long rows = -1;

    /// <summary>Parses a directory.</summary>
    /// <param name="bytes">The directory.</param>
    /// <param name="dataEnd">The end of the data before it.</param>
    /// <param name="wanted">The column to find.</param>
    public ParquetDirectory(ReadOnlySpan<byte> bytes, long dataEnd, string wanted)
    {
        (this.dataEnd, this.wanted) = (dataEnd, wanted);
        var reader = new ThriftReader(bytes);
        for (int id = 0; reader.NextField(ref id, out var type);)
            switch (id)
            {
                case 2:
                    ThriftReader.Expect(type, ThriftType.List);
                    ReadSchema(ref reader);
                    break;
                case 3:
                    ThriftReader.Expect(type, ThriftType.Int64);
                    rows = reader.ReadInteger();
                    break;
                case 4:
                    ThriftReader.Expect(type, ThriftType.List);
                    for (int left = reader.ReadStructList(); left > 0; left--) ReadRowGroup(ref reader);
                    break;
                default:
                    reader.Skip(type);
                    break;
            }
        if (column is null) throw new InvalidDataException("the directory describes no columns");
        long sum = chunks.Sum(chunk => chunk.Rows);
        if (rows != sum) throw new InvalidDataException($"the file has {rows} rows by its directory; its {chunks.Count} row groups have {sum}");
    }

    /// <summary>Gets the column.</summary>
    public ParquetLeaf Column => column!;

    /// <summary>Gets the part of the column in each row group.</summary>
    public IReadOnlyList<ParquetChunk> Chunks => chunks;

    void ReadSchema(ref ThriftReader reader)
    {
        int count = reader.ReadStructList();
        if (column is not null) throw new InvalidDataException("the directory describes its columns twice");
        // for each group around the current element: the number of remaining children, and what applies to all of them
        var groups = new Stack<(int Left, string Prefix, int Levels, bool IsRepeated)>();
        for (int i = 0; i < count; i++)
        {
            var element = ReadElement(ref reader);
            if (i == 0)
            {
                groups.Push((element.Children, "", 0, false));
                continue;
            }
            while (groups.Count > 0 && groups.Peek().Left == 0) groups.Pop();
            if (groups.Count == 0) throw new InvalidDataException($"{count} elements of the schema, of which {i} have a place");
            var (left, prefix, levels, isRepeated) = groups.Pop();
            groups.Push((left - 1, prefix, levels, isRepeated));
            levels += element.Repetition == 0 ? 0 : 1;
            isRepeated |= element.Repetition == 2;
            var path = prefix + element.Name;
            if (element.Children > 0) groups.Push((element.Children, path + ".", levels, isRepeated));
            else leaves.Add(new ParquetLeaf(path, leaves.Count, element.Type, element.Meaning, levels, isRepeated));
            if (leaves.Count > MaxColumns || groups.Count > MaxColumns) throw new InvalidDataException($"more than {MaxColumns} columns");
        }
        column = leaves.Find(leaf => leaf.Path == wanted)
            ?? throw new InvalidDataException($"no column '{wanted}'; it has {string.Join(", ", leaves.Take(NamesShown).Select(leaf => leaf.Path))}"
                + (leaves.Count > NamesShown ? $" and {leaves.Count - NamesShown} more" : ""));
        if (column.IsRepeated) throw new InvalidDataException($"column '{wanted}' is a list; expected one string per row");
        if (column.Type != ParquetType.ByteArray || column.Meaning is not null)
            throw new InvalidDataException(
                $"column '{wanted}' is {(column.Type is null ? "a group" : column.Type)}{(column.Meaning is { } meaning ? $" ({meaning})" : "")}; "
                + "expected strings");
    }

    readonly record struct Element(ParquetType? Type, int Repetition, string Name, int Children, string? Meaning);

    static Element ReadElement(ref ThriftReader reader)
    {
        var element = new Element(null, 0, "", 0, null);
        for (int id = 0; reader.NextField(ref id, out var type);)
            switch (id, type)
            {
                case (1, ThriftType.Int32):
                    element = element with { Type = (ParquetType)reader.ReadInt32() };
                    break;
                case (3, ThriftType.Int32):
                    element = element with { Repetition = reader.ReadInt32() };
                    break;
                case (4, ThriftType.Binary):
                    element = element with { Name = reader.ReadString() };
                    break;
                case (5, ThriftType.Int32):
                    element = element with { Children = reader.ReadInt32() };
                    break;
                case (6, ThriftType.Int32):
                    element = element with { Meaning = element.Meaning ?? ConvertedMeaning(reader.ReadInt32()) };
                    break;
                default:
                    reader.Skip(type);
                    break;
            }
        if (element.Children < 0) throw new InvalidDataException($"'{element.Name}' has {element.Children} columns; expected at least 0");
        return element;
    }

    // ConvertedType: 0 UTF8, 4 ENUM and 19 JSON are text
    static string? ConvertedMeaning(int type) => type switch
    {
        0 or 4 or 19 => null,
        5 => "decimal numbers",
        20 => "BSON",
        _ => $"converted type {type}",
    };

    void ReadRowGroup(ref ThriftReader reader)
    {
        if (column is null) throw new InvalidDataException("a row group before the columns are described");
        ParquetChunk? chunk = null;
        long groupRows = -1;
        for (int id = 0; reader.NextField(ref id, out var type);)
            switch (id)
            {
                case 1:
                    ThriftReader.Expect(type, ThriftType.List);
                    chunk = ReadColumns(ref reader);
                    break;
                case 3:
                    ThriftReader.Expect(type, ThriftType.Int64);
                    groupRows = reader.ReadInteger();
                    break;
                default:
                    reader.Skip(type);
                    break;
            }
        if (chunk is not { } found || groupRows < 0)
            throw new InvalidDataException($"row group {chunks.Count} is without columns or a number of rows");
        if (found.Values != groupRows)
            throw new InvalidDataException($"row group {chunks.Count}: column '{wanted}' has {found.Values} values; the group has {groupRows} rows");
        chunks.Add(found with { Rows = groupRows });
    }

    ParquetChunk? ReadColumns(ref ThriftReader reader)
    {
        int count = reader.ReadStructList();
        if (count != leaves.Count) throw new InvalidDataException($"row group {chunks.Count} has {count} columns; expected {leaves.Count}");
        ParquetChunk? chunk = null;
        for (int i = 0; i < count; i++)
        {
            if (i != Column.Index)
            {
                reader.Skip(ThriftType.Struct);
                continue;
            }
            for (int id = 0; reader.NextField(ref id, out var type);)
                switch (id)
                {
                    case 1:
                        throw new InvalidDataException($"row group {chunks.Count}: column '{wanted}' is in another file; expected this one");
                    case 3:
                        ThriftReader.Expect(type, ThriftType.Struct);
                        chunk = ReadChunk(ref reader);
                        break;
                    case 8:
                        throw new InvalidDataException($"column '{wanted}' is encrypted, which is not supported");
                    default:
                        reader.Skip(type);
                        break;
                }
        }
        return chunk;
    }

    ParquetChunk ReadChunk(ref ThriftReader reader)
    {
        long values = -1, bytes = -1, data = -1, dictionary = 0, stored = -1, codec = -1;
        for (int id = 0; reader.NextField(ref id, out var type);)
        {
            if (type is not (ThriftType.Int32 or ThriftType.Int64))
            {
                reader.Skip(type);
                continue;
            }
            long value = reader.ReadInteger();
            if (id == 1) stored = value;
            else if (id == 4) codec = value;
            else if (id == 5) values = value;
            else if (id == 7) bytes = value;
            else if (id == 9) data = value;
            else if (id == 11) dictionary = value;
        }
        var location = $"row group {chunks.Count}, column '{wanted}'";
        if (stored != (long)ParquetType.ByteArray)
            throw new InvalidDataException($"{location}: values of type {stored}; the columns are described as {Column.Type}");
        // some writers store 0 if there is no dictionary
        long start = dictionary > 0 && dictionary < data ? dictionary : data;
        if (start < 4 || start > dataEnd || bytes < 0 || bytes > dataEnd - start)
            throw new InvalidDataException($"{location} at offset {start}: {bytes} bytes; expected offsets from 4 to {dataEnd}");
        if (!ParquetCodec.IsKnown(codec))
            throw new InvalidDataException($"{location}: compressed by codec {ParquetCodec.NameOf(codec)}; expected {ParquetCodec.Known}");
        return new ParquetChunk(0, values, (int)codec, start, bytes);
    }
}
