using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Generation;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

/// <summary>Tests caches that store recurrent states in bfloat16.</summary>
public sealed class StateTypeTests : IDisposable
{
    readonly TorchSharp.DisposeScope scope = NewDisposeScope();

    readonly IDisposable noGrad = no_grad();

    public void Dispose()
    {
        noGrad.Dispose();
        scope.Dispose();
    }

    static readonly Type[] Supported = [typeof(AttentionSpec), typeof(DifferentialAttentionSpec), typeof(LatentAttentionSpec),
        typeof(ShortConvolutionSpec), typeof(Mamba1Spec), typeof(Mamba2Spec), typeof(LightningAttentionSpec), typeof(IntraHybridSpec)];

    static Tensor Read(HybridLanguageModel model, HybridCache cache, params long[] ids)
    {
        using var context = new SequenceContext(cache: cache);
        return model.NextLogits(tensor(ids, [cache.Batch, ids.Length / cache.Batch]), context);
    }

    static IEnumerable<Tensor> Narrow(HybridCache cache) =>
        cache.States.SelectMany(state => state?.Tensors ?? []).Where(tensor => tensor.dtype == ScalarType.BFloat16);

    [Fact]
    public void Every_design_stores_bfloat16_states_as_counted_or_is_refused_by_the_name_of_a_layer()
    {
        foreach (var design in TinyDesigns.All)
        {
            using var model = TinyDesigns.Model(design.Name!);
            if (design.Blocks.FirstOrDefault(block => block.Mixer is { } spec && !Supported.Contains(spec.GetType()))?.Mixer is { } mixer)
            {
                string name = mixer.GetType().Name.Replace("Spec", "", StringComparison.Ordinal);
                Assert.Contains($"the mixer {name}", Assert.ThrowsAny<ArgumentException>(() => model.CreateCache(1, ScalarType.BFloat16)).Message,
                    StringComparison.Ordinal);
                Assert.ThrowsAny<ArgumentException>(() => CacheSize.FromDesign(design, 9, 2, 4, stateSize: 2));
                continue;
            }
            using var cache = model.CreateCache(2, ScalarType.BFloat16);
            Read(model, cache, [.. Enumerable.Range(0, 18).Select(id => (long)id)]);
            cache.Trim();
            var counted = CacheSize.FromDesign(design, 9, 2, 4, stateSize: 2);
            Assert.True(counted.Total == cache.Bytes, $"{design.Name}: {cache.Bytes} bytes, {counted.Total} counted");
            Assert.Equal(CacheSize.FromDesign(design, 9, 2, 4).Scans, 2 * counted.Scans);
            var accelerator = Accelerator.Get("H200");
            Assert.Equal(2.0 * counted.Scans, DecodeCost.FromDesign(design, 8, accelerator, 2, 4).CacheBytes
                - DecodeCost.FromDesign(design, 8, accelerator, 2, 4, stateSize: 2).CacheBytes, 1e-6);
        }
    }

    /// <summary>A step reads the rounded state, computes as with a float32 state, and rounds the state again.</summary>
    [Theory, InlineData("mamba2"), InlineData("mamba1"), InlineData("inter"), InlineData("intra difference"), InlineData("lightning attention")]
    public void A_step_is_one_from_a_rounded_float32_state(string name)
    {
        using var model = TinyDesigns.Model(name);
        model.eval();
        using HybridCache narrow = model.CreateCache(2, ScalarType.BFloat16), wide = model.CreateCache(2);
        foreach (var cache in new[] { narrow, wide }) Read(model, cache, 1, 2, 3, 4, 5, 6, 7, 8);
        Assert.NotEmpty(Narrow(narrow));
        for (int step = 0; step < 4; step++)
        {
            foreach (var (from, to) in narrow.States.SelectMany(state => state?.Tensors ?? []).Zip(wide.States.SelectMany(state =>
                state?.Tensors ?? [])))
            {
                if (from.dtype != ScalarType.BFloat16) continue;
                Assert.True(to.to(ScalarType.BFloat16).equal(from).all().item<bool>(), $"{name}, step {step}");
                to.copy_(from);
            }
            Tensor expected = Read(model, wide, step, 20 + step), actual = Read(model, narrow, step, 20 + step);
            Assert.True(expected.equal(actual).all().item<bool>(), $"{name}, step {step}");
        }
    }

    [Theory, InlineData("inter"), InlineData("mamba1"), InlineData("lightning attention")]
    public void Rewinds_forks_and_files_keep_the_type(string name)
    {
        using var model = TinyDesigns.Model(name);
        model.eval();
        using var cache = model.CreateCache(2, ScalarType.BFloat16);
        Read(model, cache, 1, 2, 3, 4, 5, 6);
        int count = Narrow(cache).Count();
        using var snapshot = cache.Snapshot();
        var expected = Read(model, cache, 7, 8);
        cache.Rewind(snapshot);
        string folder = Directory.CreateTempSubdirectory("states").FullName;
        string path = Path.Combine(folder, "cache.safetensors");
        cache.Save(path);
        using HybridCache loaded = model.LoadCache(path), fork = cache.Fork(), one = cache.Select(0), joined = one.Append(cache);
        Directory.Delete(folder, true);
        foreach (var same in new[] { loaded, fork, joined.Drop(0), cache })
        {
            Assert.Equal(count, Narrow(same).Count());
            Assert.True(Read(model, same, 7, 8).equal(expected).all().item<bool>(), name);
        }
        using var wide = model.CreateCache(2);
        Assert.Contains("BFloat16", Assert.ThrowsAny<ArgumentException>(() => wide.Append(fork)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Files_with_states_of_a_type_that_the_model_does_not_support_are_refused_as_files()
    {
        using var model = TinyDesigns.Model("mamba2");
        using var cache = model.CreateCache(1, ScalarType.BFloat16);
        Read(model, cache, 1, 2);
        string folder = Directory.CreateTempSubdirectory("states").FullName;
        string path = Path.Combine(folder, "cache.safetensors");
        cache.Save(path);
        using var delta = TinyDesigns.Model("gated delta");
        using var exact = TinyDesigns.Get("mamba2").CreateModel(ScalarType.Float64, CPU);
        using var table = new Generation.TableModel(37);
        foreach (var (other, text) in new (LanguageModel, string)[] { (delta, "GatedDelta"), (exact, "Float64"), (table, "BFloat16") })
        {
            string message = Assert.Throws<InvalidDataException>(() => other.LoadCache(path)).Message;
            Assert.Contains(path, message, StringComparison.Ordinal);
            Assert.Contains(text, message, StringComparison.Ordinal);
        }
        Directory.Delete(folder, true);
    }

    [Theory, InlineData("inter"), InlineData("mamba2"), InlineData("lightning attention")]
    public void A_generation_uses_the_type_also_with_drafts(string name)
    {
        using var model = TinyDesigns.Model(name);
        using var generator = new TextGenerator(model);
        int[] prompt = [1, 2, 3, 1, 2, 3, 1, 2];
        var options = new GenerationOptions { Temperature = 0, MaxNewTokens = 24, StateType = ScalarType.BFloat16 };
        var ids = generator.Generate([prompt], options)[0].Ids;
        using var cache = model.CreateCache(1, ScalarType.BFloat16);
        model.eval();
        var logits = Read(model, cache, [.. prompt.Select(id => (long)id)]);
        foreach (int id in ids)
        {
            Assert.Equal(id, logits.argmax(1).item<long>());
            logits = Read(model, cache, id);
        }
        Assert.Equal(ids, generator.Generate([prompt], options with { DraftTokens = 3 })[0].Ids);
    }

    [Fact]
    public void Types_that_the_model_does_not_support_are_refused_before_the_first_step()
    {
        using var delta = new TextGenerator(TinyDesigns.Model("gated delta"));
        Assert.Contains("GatedDelta", Assert.ThrowsAny<ArgumentException>(() =>
            delta.Generate([[1]], new GenerationOptions { StateType = ScalarType.BFloat16 })).Message, StringComparison.Ordinal);
        using var exact = TinyDesigns.Get("mamba2").CreateModel(ScalarType.Float64, CPU);
        foreach (var type in new[] { ScalarType.BFloat16, ScalarType.Float32 })
            Assert.Contains("Float64", Assert.ThrowsAny<ArgumentException>(() => exact.CreateCache(1, type)).Message, StringComparison.Ordinal);
        using var mamba = new TextGenerator(TinyDesigns.Model("mamba2"));
        Assert.Contains("StateType is Float16; expected Float32 or BFloat16", Assert.ThrowsAny<ArgumentException>(() =>
            mamba.Generate([[1]], new GenerationOptions { StateType = ScalarType.Float16 })).Message, StringComparison.Ordinal);
        Assert.ThrowsAny<ArgumentException>(() => CacheSize.FromDesign(TinyDesigns.Get("mamba2"), 8, 1, 2, stateSize: 1));
    }
}
