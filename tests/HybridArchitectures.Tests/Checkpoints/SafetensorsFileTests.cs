using System.Buffers.Binary;
using System.Text;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Checkpoints;

public sealed class SafetensorsFileTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    string Raw(string header, int dataBytes, long? headerLength = null)
    {
        var json = Encoding.UTF8.GetBytes(header);
        var bytes = new byte[8 + json.Length + dataBytes];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, headerLength ?? json.Length);
        json.CopyTo(bytes, 8);
        var path = folder["raw.safetensors"];
        File.WriteAllBytes(path, bytes);
        return path;
    }

    [Theory]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Int64)]
    [InlineData(ScalarType.Int32)]
    [InlineData(ScalarType.Int16)]
    [InlineData(ScalarType.Int8)]
    [InlineData(ScalarType.Byte)]
    [InlineData(ScalarType.Bool)]
    public void Every_element_type_round_trips_bit_for_bit(ScalarType type)
    {
        using var scope = NewDisposeScope();
        var tensor = randint(0, 100, [3, 5, 2]).to(type);
        SafetensorsFile.Write(folder["a"], [new("x", tensor)]);
        using var file = SafetensorsFile.Open(folder["a"]);
        var read = file.Read("x");
        Assert.Equal(type, read.dtype);
        Assert.True(read.equal(tensor).all().item<bool>());
    }

    [Fact]
    public void Odd_shapes_strides_and_names_survive()
    {
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor>
        {
            ["number"] = tensor(3.5f), ["nothing"] = zeros(0, 4), ["turned"] = arange(12f).reshape(3, 4).t(), ["part"] = arange(12f)[3..7],
            ["bytes"] = ones(3, uint8), ["quote\"\\ü"] = ones(2, bfloat16), ["grad"] = nn.Parameter(ones(2)), ["spread"] = ones(1).expand(5),
        };
        SafetensorsFile.Write(folder["a"], tensors, new Dictionary<string, string> { ["format"] = "pt", ["note"] = "ä\n" });
        using var file = SafetensorsFile.Open(folder["a"]);
        Assert.Equal("ä\n", file.Metadata["note"]);
        Assert.Equal(tensors.Keys.Order(), file.Entries.Select(entry => entry.Name).Order());
        foreach (var (name, expected) in tensors)
        {
            var read = file.Read(name);
            Assert.Equal(expected.shape, read.shape);
            Assert.True(read.numel() == 0 || read.equal(expected).all().item<bool>(), name);
        }
    }

    [Fact]
    public void Data_begins_at_a_multiple_of_8_and_tensors_at_multiples_of_their_element()
    {
        using var scope = NewDisposeScope();
        SafetensorsFile.Write(folder["a"], [new("a", ones(3, uint8)), new("b", ones(3, bfloat16)), new("c", ones(3)), new("d", ones(1, int64))]);
        using var file = SafetensorsFile.Open(folder["a"]);
        Assert.All(file.Entries, entry => Assert.Equal(0, entry.Offset % (entry.ByteCount / entry.Shape[0])));
        Assert.Equal(0, file.Entries[0].Offset % 8);
    }

    [Fact]
    public void The_bytes_are_those_of_the_format()
    {
        using var scope = NewDisposeScope();
        SafetensorsFile.Write(folder["a"], [new("w", tensor(new float[] { 1, -2 }))]);
        var bytes = File.ReadAllBytes(folder["a"]);
        const string header = """{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""";
        Assert.Equal((header.Length + 7) / 8 * 8, BinaryPrimitives.ReadInt64LittleEndian(bytes));
        Assert.Equal(header, Encoding.UTF8.GetString(bytes, 8, header.Length));
        Assert.Equal([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], bytes[^8..]);
    }

    [Fact]
    public void A_tensor_is_read_into_another_of_its_shape()
    {
        using var scope = NewDisposeScope();
        var source = rand(4, 3);
        SafetensorsFile.Write(folder["a"], [new("x", source)]);
        using var file = SafetensorsFile.Open(folder["a"]);
        var same = zeros(4, 3); var other = zeros(3, 4, dtype: float64).t();
        file.ReadInto("x", same);
        file.ReadInto("x", other);
        Assert.True(same.equal(source).all().item<bool>());
        Assert.True(other.equal(source.to(float64)).all().item<bool>());
        Assert.Contains("[4, 3]; expected [3, 4]", Assert.Throws<ArgumentException>(() => file.ReadInto("x", zeros(3, 4))).Message);
        Assert.Contains("no tensor 'y'", Assert.Throws<KeyNotFoundException>(() => file.Read("y")).Message);
    }

    public static TheoryData<string, int, string> Broken => new()
    {
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 4, "data is 4 bytes" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 12, "end at 8" },
        { """{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "12 bytes" },
        { """{"a":{"dtype":"F7","shape":[2],"data_offsets":[0,8]}}""", 8, "'F7'" },
        { """{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "'-2'" },
        { """{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}""", 8, "'2.5'" },
        { """{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}""", 0, "too many elements" },
        { """{"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}}""", 0, "too many elements" },
        { """{"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,0]}}""", 0, "whole numbers" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "[8, 0]" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", 8, "data_offsets [0]" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}""", 8, "more than 2" },
        { """{"a":{"dtype":"F32","shape":[2]}}""", 8, "has no data_offsets" },
        { """{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "'dtype' twice" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"extra":1}}""", 8, "unknown key 'extra'" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}""", 16,
        "'a' occurs twice" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12,
        "'b' begins at offset 4, inside" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}""", 20,
        "'b' begins at offset 12, after a gap" },
        { """{"__metadata__":{"a":1}}""", 0, "__metadata__ 'a'" },
        { """{"a":[1]}""", 0, "tensor 'a' is StartArray" },
        { """[]""", 0, "the header is StartArray" },
        { """{"a":{"dtype":"F32",""", 0, "not valid JSON" },
        { """{} {}""", 0, "not valid JSON" },
        { """{"a":{"dtype":[[[[[[[[1]]]]]]]]}}""", 0, "dtype is StartArray" },
    };

    [Theory]
    [MemberData(nameof(Broken))]
    public void A_broken_header_is_refused_with_file_and_tensor(string header, int dataBytes, string said)
    {
        var error = Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(Raw(header, dataBytes)));
        Assert.Contains(said, error.Message);
        Assert.Contains("raw.safetensors", error.Message);
    }

    [Fact]
    public void A_hostile_header_length_allocates_nothing()
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        foreach (long length in new[] { long.MaxValue, -1, 1L << 40, 100_000_001, 99_999_999 })
            Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(Raw("{}", 0, length)));
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1 << 20);
    }

    [Fact]
    public void A_missing_empty_or_cut_file_is_refused_by_name()
    {
        Assert.Contains("absent", Assert.Throws<FileNotFoundException>(() => SafetensorsFile.Open(folder["absent"])).Message);
        File.WriteAllBytes(folder["empty"], []);
        Assert.Contains("0 bytes", Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(folder["empty"])).Message);
        using var scope = NewDisposeScope();
        SafetensorsFile.Write(folder["whole"], [new("x", rand(100))]);
        var whole = File.ReadAllBytes(folder["whole"]);
        for (int length = 0; length < whole.Length; length += 7)
        {
            File.WriteAllBytes(folder["cut"], whole[..length]);
            Assert.Throws<InvalidDataException>(() => SafetensorsFile.Open(folder["cut"]));
        }
    }

    [Fact]
    public void Any_changed_byte_of_the_header_is_refused_or_harmless()
    {
        using var scope = NewDisposeScope();
        SafetensorsFile.Write(folder["whole"], [new("x", rand(10)), new("y", ones(3, @bool))]);
        var whole = File.ReadAllBytes(folder["whole"]);
        var random = new Random(1);
        for (int i = 0; i < 500; i++)
        {
            var changed = whole.ToArray();
            changed[random.Next(whole.Length - 43)] = (byte)random.Next(256);
            File.WriteAllBytes(folder["changed"], changed);
            try
            {
                using var file = SafetensorsFile.Open(folder["changed"]);
                foreach (var entry in file.Entries) file.Read(entry.Name).Dispose();
            }
            catch (InvalidDataException)
            {
            }
        }
    }

    [Fact]
    public void A_bool_that_is_neither_0_nor_1_is_refused()
    {
        var path = Raw("""{"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}""", 2);
        var bytes = File.ReadAllBytes(path);
        bytes[^1] = 7;
        File.WriteAllBytes(path, bytes);
        using var file = SafetensorsFile.Open(path);
        Assert.Contains("'a' contains 7", Assert.Throws<InvalidDataException>(() => file.Read("a")).Message);
    }

    [Fact]
    public void A_failed_write_leaves_what_was_there()
    {
        using var scope = NewDisposeScope();
        SafetensorsFile.Write(folder["a"], [new("x", ones(2))]);
        var before = File.ReadAllBytes(folder["a"]);
        Assert.Contains("'x' occurs twice",
            Assert.Throws<ArgumentException>(() => SafetensorsFile.Write(folder["a"], [new("x", ones(2)), new("x", ones(2))])).Message);
        Assert.Contains("Complex", Assert.Throws<ArgumentException>(
            () => SafetensorsFile.Write(folder["a"], [new("x", zeros(2, complex64))])).Message);
        Assert.Contains("reserved", Assert.Throws<ArgumentException>(
            () => SafetensorsFile.Write(folder["a"], [new("__metadata__", ones(2))])).Message);
        var gone = ones(3);
        gone.Dispose();
        Assert.ThrowsAny<Exception>(() => SafetensorsFile.Write(folder["a"], [new("x", gone)]));
        Assert.Equal(before, File.ReadAllBytes(folder["a"]));
        Assert.Single(Directory.GetFileSystemEntries(folder.Path));
    }
}
