using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Training.Running;

/// <summary>Contains the size and checksum of a file, which detect accidental damage such as one flipped bit.</summary>
/// <param name="Bytes">The size in bytes.</param>
/// <param name="Crc32C">The CRC-32C (polynomial 0x1EDC6F41, as in RFC 3720) as 8 hexadecimal digits.</param>
sealed record FileMark(long Bytes, string Crc32C)
{
    const int ChunkBytes = 1 << 20;

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

    static uint Continue(uint crc, ReadOnlySpan<byte> data)
    {
        for (; data.Length >= sizeof(ulong); data = data[sizeof(ulong)..])
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(data));
        foreach (byte one in data) crc = BitOperations.Crc32C(crc, one);
        return crc;
    }
}
