using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using System.Text;

namespace HybridArchitectures.Training.Logging;

/// <summary>
/// Writes a file of scalars for TensorBoard: records of length, masked CRC-32C of the length, payload, and masked CRC-32C of the payload (the framing
/// of TFRecord). Each payload is a <c>tensorflow.Event</c> in protocol-buffer format. When a method returns, the operating system has its record.
/// </summary>
public sealed class EventFile : IDisposable
{
    // field numbers and wire types of event.proto and summary.proto
    const byte WallTime = 1 << 3 | 1, Step = 2 << 3, FileVersion = 3 << 3 | 2, Summary = 5 << 3 | 2, SessionLog = 7 << 3 | 2;
    const byte SummaryValue = 1 << 3 | 2, ValueTag = 1 << 3 | 2, SimpleValue = 2 << 3 | 5, SessionStatus = 1 << 3, SessionStart = 1;

    static int opened;
    readonly FileStream stream;
    readonly TimeProvider time;

    /// <summary>Creates a new file in a folder, which is created if necessary.</summary>
    /// <param name="folder">The folder of a run: the log directory of TensorBoard, or a folder in it.</param>
    /// <param name="startStep">
    /// The step from which a run continues. Values of later steps in earlier files of this folder become invalid. The default is 0.
    /// </param>
    /// <param name="time">The source of the time. The default, null, means the system clock.</param>
    public EventFile(string folder, long startStep = 0, TimeProvider? time = null)
    {
        Require.NotEmpty(folder);
        Require.InRange(startStep >= 0, nameof(startStep), startStep, "a step of at least 0");
        this.time = time ?? TimeProvider.System;
        Directory.CreateDirectory(folder);
        long seconds = this.time.GetUtcNow().ToUnixTimeSeconds();
        int number = Interlocked.Increment(ref opened);
        Path = System.IO.Path.Combine(folder, string.Create(CultureInfo.InvariantCulture,
            $"events.out.tfevents.{seconds:d10}.{Environment.MachineName}.{Environment.ProcessId}.{number}"));
        stream = new FileStream(Path, FileMode.CreateNew, FileAccess.Write, FileShare.Read);
        Write(null, [FileVersion, .. Sized(Encoding.ASCII.GetBytes("brain.Event:2"))]);
        if (startStep > 0) Write(startStep, [SessionLog, .. Sized([SessionStatus, SessionStart])]);
    }

    /// <summary>Gets the path of the file.</summary>
    public string Path { get; }

    /// <summary>Writes values of one step.</summary>
    /// <param name="step">The step.</param>
    /// <param name="values">The names, with slashes between group and name, and the values, which are stored with 32 bits.</param>
    public void Write(long step, params IReadOnlyList<(string Name, double Value)> values)
    {
        Require.Items(values);
        var summary = new List<byte>();
        foreach (var (name, value) in values)
        {
            Require.NotEmpty(name, nameof(values));
            var number = new byte[4];
            BinaryPrimitives.WriteSingleLittleEndian(number, (float)value);
            summary.AddRange([SummaryValue, .. Sized([ValueTag, .. Sized(Encoding.UTF8.GetBytes(name)), SimpleValue, .. number])]);
        }
        Write(step, [Summary, .. Sized([.. summary])]);
    }

    void Write(long? step, byte[] what)
    {
        var seconds = new byte[8];
        BinaryPrimitives.WriteDoubleLittleEndian(seconds, (time.GetUtcNow() - DateTimeOffset.UnixEpoch).TotalSeconds);
        byte[] payload = [WallTime, .. seconds, .. step is { } at ? [Step, .. Varint((ulong)at)] : Array.Empty<byte>(), .. what];
        var record = new byte[16 + payload.Length];
        BinaryPrimitives.WriteUInt64LittleEndian(record, (ulong)payload.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), MaskedChecksum(record.AsSpan(0, 8)));
        payload.CopyTo(record, 12);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12 + payload.Length), MaskedChecksum(payload));
        stream.Write(record);
        stream.Flush();
    }

    static byte[] Sized(byte[] content) => [.. Varint((ulong)content.Length), .. content];

    static IEnumerable<byte> Varint(ulong value)
    {
        for (; value >= 0x80; value >>= 7) yield return (byte)(value | 0x80);
        yield return (byte)value;
    }

    static uint MaskedChecksum(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in data) crc = BitOperations.Crc32C(crc, b);
        crc = ~crc;
        return (crc >> 15 | crc << 17) + 0xa282ead8;
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => stream.Dispose();
}
