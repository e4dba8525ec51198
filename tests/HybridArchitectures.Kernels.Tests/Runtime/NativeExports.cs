using System.Buffers.Binary;
using System.Text;

namespace HybridArchitectures.Kernels.Tests.Runtime;

/// <summary>Reads the names that a native library exports from its file: ELF, PE and Mach-O, 64 bits, little-endian.</summary>
static class NativeExports
{
    public static HashSet<string> FromFile(string path)
    {
        using var file = File.OpenHandle(path);
        return BinaryPrimitives.ReadUInt32LittleEndian(Bytes(file, 0, 4)) switch
        {
            0x464c457f => Elf(file),
            0xfeedfacf => MachO(file),
            var magic when (magic & 0xffff) == 0x5a4d => Pe(file),
            var magic => throw new InvalidDataException($"{path} begins with {magic:x8}"),
        };
    }

    static HashSet<string> Elf(Microsoft.Win32.SafeHandles.SafeFileHandle file)
    {
        var header = Bytes(file, 0, 64);
        var sections = Bytes(file, I64(header, 0x28), 64 * U16(header, 0x3c));
        var names = new HashSet<string>();
        for (int at = 0; at < sections.Length; at += 64)
        {
            if (U32(sections, at + 4) != 11) continue;                       // SHT_DYNSYM
            var symbols = Bytes(file, I64(sections, at + 24), I64(sections, at + 32));
            uint strings = 64 * U32(sections, at + 40);
            var text = Bytes(file, I64(sections, (int)strings + 24), I64(sections, (int)strings + 32));
            for (int i = 0; i < symbols.Length; i += 24)
                if (U16(symbols, i + 6) != 0) names.Add(Text(text, (int)U32(symbols, i)));
        }
        return names;
    }

    static HashSet<string> MachO(Microsoft.Win32.SafeHandles.SafeFileHandle file)
    {
        var header = Bytes(file, 0, 32);
        var commands = Bytes(file, 32, U32(header, 20));
        var names = new HashSet<string>();
        for (int at = 0; at < commands.Length; at += (int)U32(commands, at + 4))
        {
            if (U32(commands, at) != 2) continue;                            // LC_SYMTAB
            var symbols = Bytes(file, U32(commands, at + 8), 16L * U32(commands, at + 12));
            var text = Bytes(file, U32(commands, at + 16), U32(commands, at + 20));
            // external, defined in a section, not private to the library; names begin with an underscore
            for (int i = 0; i < symbols.Length; i += 16)
                if ((symbols[i + 4] & 0xff) is 0x0f) names.Add(Text(text, (int)U32(symbols, i))[1..]);
        }
        return names;
    }

    static HashSet<string> Pe(Microsoft.Win32.SafeHandles.SafeFileHandle file)
    {
        long pe = U32(Bytes(file, 0x3c, 4), 0);
        var header = Bytes(file, pe, 24 + 240);
        var sections = Bytes(file, pe + 24 + U16(header, 20), 40 * U16(header, 6));
        long Offset(long address)
        {
            for (int at = 0; at < sections.Length; at += 40)
                if (address >= U32(sections, at + 12) && address < U32(sections, at + 12) + (long)U32(sections, at + 8))
                    return address - U32(sections, at + 12) + U32(sections, at + 20);
            throw new InvalidDataException($"address {address:x} lies in no section");
        }
        long first = U32(header, 24 + 112), length = U32(header, 24 + 116);   // the export directory, which holds the names too
        var directory = Bytes(file, Offset(first), length);
        int count = (int)U32(directory, 24), pointers = (int)(U32(directory, 32) - first);
        return [.. Enumerable.Range(0, count).Select(i => Text(directory, (int)(U32(directory, pointers + 4 * i) - first)))];
    }

    static byte[] Bytes(Microsoft.Win32.SafeHandles.SafeFileHandle file, long offset, long count)
    {
        var bytes = new byte[count];
        for (int read = 0, more; read < count; read += more)
            if ((more = RandomAccess.Read(file, bytes.AsSpan(read), offset + read)) == 0) throw new EndOfStreamException();
        return bytes;
    }

    static ushort U16(byte[] bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(at));

    static uint U32(byte[] bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at));

    static long I64(byte[] bytes, int at) => BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(at));

    static string Text(byte[] bytes, int at) => Encoding.UTF8.GetString(bytes.AsSpan(at, bytes.AsSpan(at).IndexOf((byte)0)));
}
