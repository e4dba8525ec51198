using System.Buffers.Binary;
using CsCheck;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Fuzz;
using HybridArchitectures.Storage;
using HybridArchitectures.Tests.Checkpoints;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Fuzz;

public class SafetensorsFuzzTests
{
    [Fact]
    public void A_mutated_header_is_refused_or_describes_exactly_the_bytes_that_are_there()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        string path = folder["a.safetensors"];
        SafetensorsFile.Write(path,
        [
            new("weight", arange(6, dtype: ScalarType.Float32).reshape(2, 3)), new("bias", zeros(5, ScalarType.BFloat16)), new("ids", arange(4)),
            new("empty", zeros(0, 7)), new("flag", tensor(true)), new("one", ones(1, 1, 1, 2, dtype: ScalarType.Float64)),
        ], new Dictionary<string, string> { ["format"] = "pt" });
        byte[] original = File.ReadAllBytes(path);
        int header = (int)BinaryPrimitives.ReadInt64LittleEndian(original);
        byte[] json = original[8..(8 + header)], data = original[(8 + header)..];
        int opened = 0, refused = 0;
        // the length of the header is usually correct, so that damage reaches the parser
        Gen.Select(Mutation.Many(json), Gen.Int[0, 19], Gen.Int[-9, 9]).Each(Effort.Choose(3_000, 100_000), sample =>
        {
            var (mutated, kind, shift) = sample;
            byte[] file = [.. original.AsSpan(0, 8), .. mutated, .. data];
            BinaryPrimitives.WriteInt64LittleEndian(file, mutated.Length + (kind == 0 ? shift : 0));
            if (kind == 1) file = file[..Math.Max(0, file.Length - Math.Abs(shift))];
            File.WriteAllBytes(path, file);
            try
            {
                AssertDescribes(path, file);
                opened++;
            }
            catch (InvalidDataException refusal)
            {
                Assert.StartsWith(path, refusal.Message);
                Assert.InRange(refusal.Message.Length, path.Length + 10, path.Length + 6000);
                refused++;
            }
        });
        Assert.True(opened > refused / 100 && refused > opened / 10, $"{opened} opened, {refused} refused: the mutations no longer try both");
    }

    // the entries cover all bytes after the header, without gaps, and tensors contain exactly those bytes
    static void AssertDescribes(string path, byte[] file)
    {
        using var read = SafetensorsFile.Open(path);
        long end = 8 + BinaryPrimitives.ReadInt64LittleEndian(file);
        foreach (var entry in read.Entries)
        {
            Assert.Equal(end, entry.Offset);
            end += entry.ByteCount;
            using var tensor = read.Read(entry.Name);
            Assert.Equal(entry.Shape, tensor.shape);
            Assert.Equal(entry.ByteCount, tensor.numel() * tensor.element_size());
            if (entry.ByteCount > 0)
                Assert.True(file.AsSpan((int)entry.Offset, (int)entry.ByteCount).SequenceEqual(tensor.bytes), entry.Name);
        }
        Assert.Equal(file.Length, end);
    }
}
