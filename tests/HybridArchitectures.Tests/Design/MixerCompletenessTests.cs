using System.Reflection;
using System.Text.Json.Serialization;
using HybridArchitectures.Conversion;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Design;

/// <summary>
/// Tests that a spec contains all that the library knows about its mixer. A new spec without an example, a JSON name, a letter, a colour or a module
/// fails here.
/// </summary>
public class MixerCompletenessTests
{
    const int Width = 32;

    static readonly MixerSpec[] examples =
    [
        new AttentionSpec { Heads = 4 }, new AttentionSpec { Heads = 4, Window = 8, Sinks = 1 }, new Mamba1Spec(),
        new Mamba2Spec { HeadSize = 8, StateSize = 16 },
        new GatedDeltaSpec { KeyHeads = 2, KeyHeadSize = 8 }, new KimiDeltaSpec { Heads = 2 },
        new LatentAttentionSpec { Heads = 4, KeyValueRank = 12, SharedKeySize = 6 }, new LightningAttentionSpec { Heads = 2 },
        new ShortConvolutionSpec(), new RgLruSpec { Heads = 4 }, new GatedLinearAttentionSpec { Heads = 2 },
        new Mamba3Spec { HeadSize = 8, StateSize = 12 }, new DifferentialAttentionSpec { Heads = 2 }, new Hgrn2Spec { Heads = 2 },
        new Rwkv7Spec { Heads = 2 },
        new IntraHybridSpec { Attention = new AttentionSpec { Heads = 4 }, StateSpace = new Mamba2Spec { HeadSize = 8, StateSize = 16 } },
    ];

    static readonly Type[] kinds = [.. typeof(MixerSpec).Assembly.GetTypes().Where(type => type.IsSubclassOf(typeof(MixerSpec)) && !type.IsAbstract)];

    public static TheoryData<string> Names => [.. examples.Select(example => example.Symbol)];

    static MixerSpec Example(string symbol) => examples.First(example => example.Symbol == symbol).Resolve(Width);

    static HybridDesign Design(MixerSpec mixer) =>
        new HybridDesign { Width = Width, VocabularySize = 19, Blocks = [new() { Mixer = mixer }] }.Resolve();

    [Fact]
    public void Every_mixer_of_the_library_has_an_example_here() =>
        Assert.Equal(kinds.OrderBy(kind => kind.Name), examples.Select(example => example.GetType()).Distinct().OrderBy(kind => kind.Name));

    [Fact]
    public void Every_mixer_of_the_library_has_a_JSON_name()
    {
        var named = typeof(MixerSpec).GetCustomAttributes<JsonDerivedTypeAttribute>(inherit: false).ToArray();
        Assert.Equal(kinds.OrderBy(kind => kind.Name), named.Select(one => one.DerivedType).OrderBy(kind => kind.Name));
        Assert.Equal(named.Length, named.Select(one => one.TypeDiscriminator).Distinct().Count());
    }

    [Fact]
    public void Letters_and_colours_distinguish_mixers()
    {
        Assert.Equal(examples.Length, examples.Select(example => example.Symbol).Distinct().Count());
        var plain = examples.Select(example => example.Resolve(Width).Describe()).Where(kind => kind.SecondColor is null).ToArray();
        Assert.Equal(plain.Length, plain.Select(kind => kind.Color).Distinct().Count());
        Assert.DoesNotContain(MixerColor.Custom, plain.Select(kind => kind.Color));
    }

    [Theory, MemberData(nameof(Names))]
    public void A_letter_is_reserved_read_and_printed(string symbol)
    {
        Assert.False(BlockPattern.IsFreeSymbol(symbol));
        Assert.Equal(symbol, Assert.Single(BlockPattern.Parse(symbol)).Mixer);
        Assert.StartsWith(symbol, Design(Example(symbol)).Pattern);
    }

    [Theory, MemberData(nameof(Names))]
    public void A_design_with_it_is_written_read_built_and_counted(string symbol)
    {
        var design = Design(Example(symbol));
        Assert.Equal(design, HybridDesign.FromJson(design.ToJson()));
        using var model = design.CreateModel(seed: 1);
        Assert.Equal(design.CountParameters().Total, model.Parameters.Sum(parameter => parameter.Value.NumberOfElements));
    }

    [Theory, MemberData(nameof(Names))]
    public void It_has_operations_a_cache_and_activations(string symbol)
    {
        var mixer = Example(symbol);
        Assert.True(mixer.CountMatrixWeights(Width) > 0);
        Assert.True(CacheSize.FromDesign(Design(mixer), 5).Total > 0);
        Assert.True(CacheSize.Paper(Design(mixer), 5) > 0);
        Assert.True(mixer.CountStepTraffic(Width, 5, 2) > 0);
        Assert.True(mixer.CountSavedActivations(Width, new(2, 64, 1, null)) > 0);
        // a short convolution mixes with its taps alone, which are parameters
        foreach (var accounting in Enum.GetValues<FlopAccounting>())
            Assert.Equal(mixer is not ShortConvolutionSpec, mixer.CountMixingFlops(Width, accounting, SeenTokens.FromRow(5)) > 0);
    }

    [Theory, MemberData(nameof(Names))]
    public void It_is_named_and_described(string symbol)
    {
        var kind = Example(symbol).Describe();
        Assert.False(string.IsNullOrWhiteSpace(kind.Name));
        Assert.False(string.IsNullOrWhiteSpace(kind.Summary));
        Assert.False(string.IsNullOrWhiteSpace(kind.Details));
        Assert.Contains(kind.Summary, Design(Example(symbol)).Explain(64));
    }

    [Theory, MemberData(nameof(Names))]
    public void Its_module_is_of_the_same_kind(string symbol)
    {
        var mixer = Example(symbol);
        using var model = Design(mixer).CreateModel(seed: 1);
        Assert.Equal(mixer.Kind, model.Stack.Blocks[0].Mixer!.Kind);
        Assert.Equal(mixer.Kind == MixerKind.Other, mixer is ShortConvolutionSpec);
    }

    [Theory, MemberData(nameof(Names))]
    public void Reviews_can_change_its_chunk_size(string symbol)
    {
        var mixer = Example(symbol);
        var branch = mixer is IntraHybridSpec intra ? intra.StateSpace : mixer;
        Assert.Equal(branch.GetType().GetProperty("ChunkSize")?.GetValue(branch), mixer.Chunks?.Size);
        if (mixer.Chunks is { } chunks) Assert.Equal(128, chunks.Change(128).Chunks?.Size);
    }

    [Theory, MemberData(nameof(Names))]
    public void Reviews_can_remove_the_positions_of_its_attention(string symbol)
    {
        var mixer = Example(symbol);
        bool attends = mixer.Kind is MixerKind.Attention or MixerKind.Both;
        var branch = (mixer is IntraHybridSpec intra ? intra.Attention : mixer) with { };
        var rotary = branch.GetType().GetProperty("Rotary");
        Assert.Equal(attends, rotary is not null);
        Assert.Equal(attends && symbol != "S", mixer.IsFullAttention);
        Assert.False(mixer.HasPositions);
        if (!attends) return;
        rotary!.SetValue(branch, new RotarySpec());
        var rotated = mixer is IntraHybridSpec both ? both with { Attention = (AttentionSpec)branch } : branch;
        Assert.True(rotated.HasPositions);
        Assert.Equal(symbol == "S", rotated.WithoutPositions().HasPositions);
    }

    [Theory, MemberData(nameof(Names))]
    public void Reviews_can_give_it_a_convolution(string symbol)
    {
        var mixer = Example(symbol);
        if (mixer.Kind != MixerKind.Recurrent || mixer is Mamba3Spec or Rwkv7Spec)
        {
            // those of Mamba-3 and RWKV-7 see the token before theirs without a convolution
            Assert.Null(mixer.WithConvolution());
            return;
        }
        var width = mixer.GetType().GetProperty("ConvolutionWidth");
        var narrow = width is null ? mixer : mixer with { };
        width?.SetValue(narrow, 1);
        var wide = narrow.WithConvolution();
        Assert.Equal(4, wide?.GetType().GetProperty("ConvolutionWidth")?.GetValue(wide));
        if (width is not null) Assert.Null(wide?.WithConvolution());
    }

    [Theory, MemberData(nameof(Names))]
    public void Conversions_know_its_tensors_or_name_it_here(string symbol)
    {
        var mixer = Example(symbol);
        using var model = Design(mixer).CreateModel(seed: 1);
        using var scope = NewDisposeScope();
        const string Prefix = "stack.blocks.0.mixer.";
        var tensors = model.State.Where(item => item.Key.StartsWith(Prefix, StringComparison.Ordinal))
            .ToDictionary(item => item.Key[Prefix.Length..], item => item.Value.detach());
        bool isFresh = mixer is IntraHybridSpec or GatedLinearAttentionSpec or Hgrn2Spec or Mamba3Spec or DifferentialAttentionSpec;
        Assert.Equal(isFresh, MixerSlots.Read(mixer, tensors, zeroCenteredNorms: false).Count == 0);
    }

    [Fact]
    public void A_short_convolution_counts_its_cache_in_both_accountings()
    {
        var design = Design(new ShortConvolutionSpec());
        Assert.Equal(2 * Width * 2, CacheSize.FromDesign(design, 100).Convolutions);
        Assert.Equal(3 * Width * 2, CacheSize.Paper(design, 100));
    }

    [Fact]
    public void A_step_sees_the_tokens_before_it_and_a_row_the_mean()
    {
        Assert.Equal(8, SeenTokens.FromStep(7).Count());
        Assert.Equal(4, SeenTokens.FromStep(7).Count(window: 4));
        Assert.Equal(2.5, SeenTokens.FromRow(4).Count());
        Assert.Equal(1.75, SeenTokens.FromRow(4).Count(window: 2));
        Assert.ThrowsAny<ArgumentException>(() => SeenTokens.FromRow(0));
        Assert.ThrowsAny<ArgumentException>(() => SeenTokens.FromStep(-1));
    }
}
