using System.Text;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Reads Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md) from untrusted bytes. Declared
/// sizes allocate nothing, and every element has at least one byte, so no count causes a long loop.
/// </summary>
/// <remarks>
/// If the bytes end too early, an <see cref="EndOfStreamException"/> is thrown. Any other fault is an <see cref="InvalidDataException"/>.
/// </remarks>
ref struct ThriftReader(ReadOnlySpan<byte> bytes)
{
    const int MaxDepth = 32;
    readonly ReadOnlySpan<byte> bytes = bytes;
    int depth;

    /// <summary>Gets the number of bytes that have been read.</summary>
    public int Position { get; private set; }

    /// <summary>Reads the header of the next field of a structure.</summary>
    /// <param name="id">The number of the previous field, or 0 at the start of the structure. It becomes the number of the field.</param>
    /// <param name="type">The type of the field.</param>
    /// <returns>False at the end of the structure.</returns>
    public bool NextField(ref int id, out ThriftType type)
    {
        int header = ReadByte();
        type = TypeOf(header & 15);
        if (type == ThriftType.Stop) return false;
        int step = header >> 4;
        id = step == 0 ? (int)ReadInteger() : id + step;
        return true;
    }

    static ThriftType TypeOf(int code) =>
        code <= (int)ThriftType.Uuid ? (ThriftType)code : throw new InvalidDataException($"a field of the unknown type {code}");

    public int ReadByte()
    {
        if (Position >= bytes.Length) throw new EndOfStreamException("the structure does not end");
        return bytes[Position++];
    }

    ulong ReadVarint()
    {
        ulong value = 0;
        for (int shift = 0; shift < 64; shift += 7)
        {
            int part = ReadByte();
            value |= (ulong)(part & 0x7f) << shift;
            if (part < 0x80) return value;
        }
        throw new InvalidDataException("an integer of more than 64 bits");
    }

    /// <summary>Reads an integer of 16 to 64 bits.</summary>
    public long ReadInteger()
    {
        ulong value = ReadVarint();
        return (long)(value >> 1) ^ -(long)(value & 1);
    }

    /// <summary>Reads an integer that must fit in 32 bits.</summary>
    public int ReadInt32()
    {
        long value = ReadInteger();
        return value is >= int.MinValue and <= int.MaxValue ? (int)value : throw new InvalidDataException($"an integer is {value}; expected 32 bits");
    }

    public ReadOnlySpan<byte> ReadBinary()
    {
        ulong length = ReadVarint();
        if (length > (ulong)(bytes.Length - Position))
            throw new EndOfStreamException($"a string of {length} bytes, where {bytes.Length - Position} are left");
        var result = bytes.Slice(Position, (int)length);
        Position += (int)length;
        return result;
    }

    public string ReadString() => Encoding.UTF8.GetString(ReadBinary());

    /// <summary>Reads the header of a list or set.</summary>
    public int ReadListHeader(out ThriftType element)
    {
        int header = ReadByte();
        element = TypeOf(header & 15);
        ulong count = header >> 4 == 15 ? ReadVarint() : (ulong)(header >> 4);
        if (count > (ulong)(bytes.Length - Position))
            throw new EndOfStreamException($"a list of {count} elements, where {bytes.Length - Position} bytes are left");
        return (int)count;
    }

    /// <summary>Reads the header of a list of structures.</summary>
    public int ReadStructList()
    {
        int count = ReadListHeader(out var element);
        return count == 0 || element == ThriftType.Struct ? count : throw new InvalidDataException($"a list of {element}; expected structures");
    }

    /// <summary>Checks the type of a field.</summary>
    public static void Expect(ThriftType type, ThriftType expected)
    {
        if (type != expected) throw new InvalidDataException($"a field of type {type}; expected {expected}");
    }

    /// <summary>Skips the value of a field.</summary>
    public void Skip(ThriftType type)
    {
        if (type is ThriftType.True or ThriftType.False) return;
        if (++depth > MaxDepth) throw new InvalidDataException($"structures nested deeper than {MaxDepth}");
        SkipElement(type);
        depth--;
    }

    void SkipElement(ThriftType type)
    {
        switch (type)
        {
            case ThriftType.True or ThriftType.False or ThriftType.Byte:        // in a list, one byte each
                ReadByte();
                break;
            case ThriftType.Int16 or ThriftType.Int32 or ThriftType.Int64:
                ReadVarint();
                break;
            case ThriftType.Double:
                SkipBytes(8);
                break;
            case ThriftType.Uuid:
                SkipBytes(16);
                break;
            case ThriftType.Binary:
                ReadBinary();
                break;
            case ThriftType.List or ThriftType.Set:
                for (int left = ReadListHeader(out var element); left > 0; left--) SkipNested(element);
                break;
            case ThriftType.Map:
                SkipMap();
                break;
            case ThriftType.Struct:
                for (int id = 0; NextField(ref id, out var field);) Skip(field);
                break;
            default:
                throw new InvalidDataException("an element without a type");
        }
    }

    void SkipNested(ThriftType type)
    {
        if (++depth > MaxDepth) throw new InvalidDataException($"structures nested deeper than {MaxDepth}");
        SkipElement(type);
        depth--;
    }

    void SkipMap()
    {
        ulong count = ReadVarint();
        if (count > (ulong)(bytes.Length - Position))
            throw new EndOfStreamException($"a map of {count} entries, where {bytes.Length - Position} bytes are left");
        if (count == 0) return;
        int types = ReadByte();
        for (ulong i = 0; i < count; i++)
        {
            SkipNested(TypeOf(types >> 4));
            SkipNested(TypeOf(types & 15));
        }
    }

    void SkipBytes(int count)
    {
        if (count > bytes.Length - Position) throw new EndOfStreamException("the structure does not end");
        Position += count;
    }
}
