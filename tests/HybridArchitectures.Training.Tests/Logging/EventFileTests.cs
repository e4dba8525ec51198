using System.Buffers.Binary;
using HybridArchitectures.Training.Logging;
using HybridArchitectures.Training.Running;
using HybridArchitectures.Training.Tests.Running;

namespace HybridArchitectures.Training.Tests.Logging;

public sealed class EventFileTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    // bit by bit, from the reversed polynomial of Castagnoli
    static uint Checksum(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in data)
        {
            crc ^= b;
            for (int i = 0; i < 8; i++) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
        }
        return ~crc;
    }

    static uint Unmasked(uint masked)
    {
        uint rotated = masked - 0xa282ead8;
        return rotated >> 17 | rotated << 15;
    }

    /// <summary>Reads a file with the message classes that TensorBoard's own definitions generate.</summary>
    static List<Tensorboard.Event> Read(string path)
    {
        var bytes = File.ReadAllBytes(path).AsSpan();
        var events = new List<Tensorboard.Event>();
        while (bytes.Length > 0)
        {
            int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            Assert.Equal(Checksum(bytes[..8]), Unmasked(BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..])));
            Assert.Equal(Checksum(bytes.Slice(12, length)), Unmasked(BinaryPrimitives.ReadUInt32LittleEndian(bytes[(12 + length)..])));
            events.Add(Tensorboard.Event.Parser.ParseFrom(bytes.Slice(12, length).ToArray()));
            bytes = bytes[(16 + length)..];
        }
        return events;
    }

    [Fact]
    public void The_checksum_is_that_of_the_standard() => Assert.Equal(0xe3069283u, Checksum("123456789"u8));

    [Fact]
    public void Scalars_are_read_as_they_were_written()
    {
        string path;
        using (var file = new EventFile(folder["board"]))
        {
            path = file.Path;
            file.Write(0, ("train/loss", 3.25));
            file.Write(300, ("train/loss", 0.1), ("größe", -2e30), (new string('n', 200), double.NaN));
            file.Write(long.MaxValue, ("x", 0));
        }
        Assert.StartsWith("events.out.tfevents.", Path.GetFileName(path));
        var events = Read(path);
        Assert.Equal("brain.Event:2", events[0].FileVersion);
        Assert.Equal([0, 300, long.MaxValue], events.Skip(1).Select(item => item.Step));
        Assert.Equal([("train/loss", 3.25f)], events[1].Summary.Value.Select(value => (value.Tag, value.SimpleValue)));
        Assert.Equal([("train/loss", 0.1f), ("größe", -2e30f), (new string('n', 200), float.NaN)],
            events[2].Summary.Value.Select(value => (value.Tag, value.SimpleValue)));
        Assert.All(events, item => Assert.Equal(DateTimeOffset.UtcNow.ToUnixTimeSeconds(), item.WallTime, 60.0));
    }

    [Fact]
    public void A_run_and_its_continuing_write_their_numbers()
    {
        using var data = Small.Data();
        using var heldOut = Small.Data(300, seed: 2);
        using var model = Small.Model();
        using (var log = new TensorBoardLog(folder["board"]))
        using (var trainer = new Trainer(model, data, Small.Options with { Duration = Duration.Steps(6), Folder = folder["run"] }, heldOut, [log]))
            trainer.Run();
        using (var log = new TensorBoardLog(folder["board"]))
        using (var trainer = Trainer.Resume(folder["run"], data, heldOut, [log], change: options => options with { Duration = Duration.Steps(9) }))
        {
            trainer.Run();
            trainer.Model.Dispose();
        }
        var files = Directory.GetFiles(folder["board"]).Select(Read).OrderBy(events => events[1].Step > 1).ToArray();
        Assert.Equal(2, files.Length);
        Assert.Equal([1, 3, 6], files[0].Where(item => item.Summary?.Value[0].Tag == "train/loss").Select(item => item.Step));
        Assert.Equal(["train/loss", "train/learning_rate", "train/gradient_norm", "train/tokens_per_second", "train/model_flops_per_second",
            "train/memory_bytes", "train/reading_share"],
            files[0][1].Summary.Value.Select(value => value.Tag));
        Assert.Contains(files[0], item => item is { Step: 6, Summary: not null } && item.Summary.Value[0].Tag == "held_out/bits_per_byte");
        Assert.Equal((6L, Tensorboard.SessionLog.Types.SessionStatus.Start), (files[1][1].Step, files[1][1].SessionLog.Status));
        Assert.Contains(files[1], item => item is { Step: 9, Summary: not null });
    }
}
