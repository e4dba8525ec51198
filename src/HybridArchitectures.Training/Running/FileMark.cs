using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Training.Running;

/// <summary>Contains the size and checksum of a file, which detect accidental damage such as one flipped bit.</summary>
/// <param name="Bytes">The size in bytes.</param>
/// <param name="Crc32C">The CRC-32C (polynomial 0x1EDC6F41, as in RFC 3720) as 8 hexadecimal digits.</param>
sealed record FileMark(long Bytes, string Crc32C)
{
    const int ChunkBytes = 1 << 20;
    const uint Reflected = 0x82F63B78;

    /// <summary>Computes size and checksum of a file.</summary>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    public static FileMark FromFile(string path)
    {
        RegularFile.Require(path);
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, FileOptions.SequentialScan);
        var buffer = GC.AllocateUninitializedArray<byte>(ChunkBytes);
        uint crc = uint.MaxValue;
        long offset = 0;
        for (int got; (got = RandomAccess.Read(file, buffer, offset)) > 0; offset += got) crc = Continue(crc, buffer.AsSpan(0, got));
        return new(offset, (~crc).ToString("x8", CultureInfo.InvariantCulture));
    }

    /// <summary>Returns the checksum of a part of a file.</summary>
    public static uint Checksum(ReadOnlySpan<byte> data) => ~Continue(uint.MaxValue, data);

    /// <summary>Returns the mark of a file from the checksums of its parts.</summary>
    /// <param name="parts">Offset, number of bytes and checksum of the parts, in any order.</param>
    /// <exception cref="InvalidOperationException">The parts overlap, or do not fill the file.</exception>
    public static FileMark Combine(IEnumerable<(long Offset, long Bytes, uint Crc)> parts)
    {
        long length = 0;
        uint crc = 0;
        foreach (var part in parts.OrderBy(part => part.Offset).ThenBy(part => part.Bytes))
        {
            if (part.Offset != length)
                throw new InvalidOperationException($"the parts of a file have {length} bytes before offset {part.Offset}; expected {part.Offset}");
            crc = Multiply(PowerOfX(part.Bytes), crc) ^ part.Crc;
            length += part.Bytes;
        }
        return new(length, crc.ToString("x8", CultureInfo.InvariantCulture));
    }

    // polynomials over two elements modulo that of the checksum; the coefficient of 1 is the highest bit
    static uint Multiply(uint a, uint b)
    {
        uint product = 0;
        for (uint bit = 1u << 31; bit != 0; bit >>= 1)
        {
            if ((a & bit) != 0) product ^= b;
            b = (b & 1) != 0 ? (b >> 1) ^ Reflected : b >> 1;
        }
        return product;
    }

    // x to the power of 8 times a number of bytes
    static uint PowerOfX(long bytes)
    {
        uint power = 1u << 31;
        for (uint square = 1u << 23; bytes > 0; bytes >>= 1, square = Multiply(square, square))
            if ((bytes & 1) != 0) power = Multiply(square, power);
        return power;
    }

    static uint Continue(uint crc, ReadOnlySpan<byte> data)
    {
        for (; data.Length >= sizeof(ulong); data = data[sizeof(ulong)..])
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(data));
        foreach (byte one in data) crc = BitOperations.Crc32C(crc, one);
        return crc;
    }
}
