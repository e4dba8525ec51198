using System.Text;
using CsCheck;

namespace HybridArchitectures.Fuzz;

/// <summary>Damages the bytes of a file at random, as transfers, crashes and attackers do.</summary>
static class Mutation
{
    static readonly byte[] marks = [.. "{}[]\":,-.0123456789eE\\\0\n "u8, 0x80, 0xC3, 0xFF];

    static readonly string[] words =
    [
        "-1", "0", "1", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615", "1e300", "-0", "1.5", "NaN", "null",
        "true", "[]", "{}", "\"\"", "[[[[[[",
        "\"F32\"", "\"I64\"", "\"F4\"", "\"../x\"", "\"/etc/passwd\"", "\"\\ud800\"", "__metadata__", "data_offsets",
    ];

    /// <summary>Creates one change of a text of about <paramref name="length"/> bytes.</summary>
    public static Gen<Func<byte[], byte[]>> Create(int length) => Gen.Frequency<Func<byte[], byte[]>>(
        (4, Gen.Select(Gen.Int[0, length - 1], Gen.Byte, (at, value) => Change(bytes => Replace(bytes, at, 1, [value])))),
        (6, Gen.Select(Gen.Int[0, length - 1], Gen.OneOf(marks), (at, value) => Change(bytes => Replace(bytes, at, 1, [value])))),
        (3, Gen.Select(Gen.Int[0, length - 1], Gen.Int[1, 40], (at, count) => Change(bytes => Replace(bytes, at, count, [])))),
        (3, Gen.Select(Gen.Int[0, length - 1], Gen.Int[0, length - 1], Gen.Int[1, 60],
        (to, from, count) => Change(bytes => Replace(bytes, to, 0, Slice(bytes, from, count))))),
        (3, Gen.Select(Gen.Int[0, length - 1], Gen.OneOf(words), (at, word) => Change(bytes => Replace(bytes, at, 0, Encoding.UTF8.GetBytes(word))))),
        (8, Gen.Select(Gen.Int[0, length - 1], Gen.OneOf(words), (at, word) => Change(bytes => ReplaceNumber(bytes, at, word)))),
        (1, Gen.Int[0, length - 1].Select(at => Change(bytes => Slice(bytes, 0, at)))));

    /// <summary>Creates one to three changes of <paramref name="original"/>.</summary>
    public static Gen<byte[]> Many(byte[] original) =>
        Create(original.Length).Array[1, 3].Select(changes => changes.Aggregate(original, (bytes, change) => change(bytes)));

    static Func<byte[], byte[]> Change(Func<byte[], byte[]> change) => change;

    static byte[] Slice(byte[] bytes, int from, int count)
    {
        from = Math.Min(from, bytes.Length);
        return bytes[from..Math.Min(bytes.Length, from + count)];
    }

    static byte[] Replace(byte[] bytes, int at, int count, byte[] by)
    {
        at = Math.Min(at, bytes.Length);
        count = Math.Min(count, bytes.Length - at);
        return [.. bytes.AsSpan(0, at), .. by, .. bytes.AsSpan(at + count)];
    }

    // the first number from a place on: sizes and offsets are where a file lies best
    static byte[] ReplaceNumber(byte[] bytes, int at, string word)
    {
        int start = Math.Min(at, bytes.Length);
        while (start < bytes.Length && !char.IsAsciiDigit((char)bytes[start])) start++;
        int end = start;
        while (end < bytes.Length && char.IsAsciiDigit((char)bytes[end])) end++;
        return Replace(bytes, start, end - start, Encoding.UTF8.GetBytes(word));
    }
}
