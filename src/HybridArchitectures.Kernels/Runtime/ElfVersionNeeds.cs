using System.Buffers.Binary;
using System.Text;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Marks version requirements of a 64-bit little-endian ELF file as weak (flag <c>VER_FLG_WEAK</c> of section <c>SHT_GNU_verneed</c>, System V gABI
/// and the GNU symbol versioning specification). The dynamic loader then prints a warning at most, where it would otherwise refuse to load the file.
/// </summary>
static class ElfVersionNeeds
{
    const uint VersionNeedSection = 0x6ffffffe;
    const ushort WeakFlag = 2;

    /// <summary>Changes <paramref name="elf"/> in place and returns the number of requirements that were marked.</summary>
    /// <exception cref="BadImageFormatException">The bytes are not such a file, or an offset is outside the file.</exception>
    public static int Weaken(Span<byte> elf, IReadOnlyCollection<string> versions)
    {
        if (elf.Length < 64 || !elf[..6].SequenceEqual<byte>([0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1]))
            throw new BadImageFormatException("not a 64-bit little-endian ELF file");
        long sections = I64(elf, 0x28);
        int count = U16(elf, 0x3c), marked = 0;
        for (int i = 0; i < count; i++)
        {
            long section = sections + 64L * i;
            if (U32(elf, section + 4) != VersionNeedSection) continue;
            long strings = I64(elf, sections + 64L * U32(elf, section + 40) + 24);
            long need = I64(elf, section + 24);
            for (uint left = U32(elf, section + 44); left > 0; left--)          // sh_info: number of entries
            {
                long auxiliary = need + U32(elf, need + 8);
                for (int k = U16(elf, need + 2); k > 0; k--)
                {
                    if (versions.Contains(Text(elf, strings + U32(elf, auxiliary + 8))))
                    {
                        BinaryPrimitives.WriteUInt16LittleEndian(Slice(elf, auxiliary + 4, 2), WeakFlag);
                        marked++;
                    }
                    uint nextAuxiliary = U32(elf, auxiliary + 12);
                    if (nextAuxiliary == 0) break;
                    auxiliary += nextAuxiliary;
                }
                uint next = U32(elf, need + 12);
                if (next == 0) break;
                need += next;
            }
        }
        return marked;
    }

    static Span<byte> Slice(Span<byte> elf, long offset, int length) =>
        offset >= 0 && offset <= elf.Length - length ? elf.Slice((int)offset, length)
            : throw new BadImageFormatException($"offset {offset} lies outside the file of {elf.Length} bytes");

    static ushort U16(Span<byte> elf, long offset) => BinaryPrimitives.ReadUInt16LittleEndian(Slice(elf, offset, 2));
    static uint U32(Span<byte> elf, long offset) => BinaryPrimitives.ReadUInt32LittleEndian(Slice(elf, offset, 4));
    static long I64(Span<byte> elf, long offset) => BinaryPrimitives.ReadInt64LittleEndian(Slice(elf, offset, 8));

    static string Text(Span<byte> elf, long offset)
    {
        var rest = elf[Math.Clamp((int)Math.Min(offset, int.MaxValue), 0, elf.Length)..];
        int end = rest.IndexOf((byte)0);
        return end < 0 ? throw new BadImageFormatException($"a name at offset {offset} has no end") : Encoding.ASCII.GetString(rest[..end]);
    }
}
