using CsCheck;
using HybridArchitectures.Design;
using HybridArchitectures.Fuzz;

namespace HybridArchitectures.Tests.Design;

/// <summary>Tests that a notation reads what it prints, for any text or list, or says why it cannot.</summary>
public class NotationPropertyTests
{
    static readonly int Samples = Effort.Choose(3_000, 100_000);

    // blocks that every notation of ours can meet
    static readonly Gen<PatternBlock> block =
        Gen.Select(Gen.OneOf("T", "S", "M", "m", "H", "G", "K", "A", "L", "R", "g", "N", "D", "h", "W", "C", null), Gen.Enum<PatternFeedForward>(),
        Gen.Frequency((9, Gen.Const(false)), (1, Gen.Const(true))),
        (mixer, feedForward, shared) => new PatternBlock(mixer, feedForward, shared && mixer is not null));

    static Gen<EquatableList<PatternBlock>> Blocks(Gen<PatternBlock> of) => of.Array[1, 40].Select(blocks => blocks.ToEquatableList());

    // the result, or null where it is refused with a reason
    static T? Read<T>(Func<T> read) where T : class
    {
        try
        {
            return read();
        }
        catch (ArgumentException refusal)
        {
            Assert.True(refusal.Message.Length > 10, refusal.Message);
            return null;
        }
    }

    [Fact]
    public void The_library_reads_every_pattern_that_it_prints() =>
        Blocks(block.Where(one => one is not { Mixer: null, FeedForward: PatternFeedForward.None }))
            .Each(Samples, blocks => Assert.Equal(blocks, BlockPattern.Parse(string.Concat(blocks))));

    [Fact]
    public void Any_text_is_a_pattern_that_prints_as_itself_or_is_refused()
    {
        int read = 0;
        Gen.OneOf(Gen.OneOf('T', 'S', 'M', 'm', 'H', '-', 'e', '~', '+', ' '), Gen.Char).Array[0, 30].Select(characters => new string(characters))
            .Each(Samples, text =>
        {
            if (Read(() => BlockPattern.Parse(text)) is not { } blocks) return;
            read++;
            Assert.Equal(blocks, BlockPattern.Parse(string.Concat(blocks)));
        });
        Assert.True(read > 0);
    }

    [Fact]
    public void Any_text_is_a_Megatron_pattern_that_prints_as_itself_or_is_refused()
    {
        var read = new int[2];
        Gen.Frequency((20, Gen.OneOf('M', '*', '-', 'E', 'G')), (1, Gen.OneOf('|', '/', '+', 'D', ' ', 'x', '\0'))).Array[0, 60]
            .Select(characters => new string(characters)).Each(Samples, text =>
        {
            foreach (bool fold in (bool[])[false, true])
            {
                if (Read(() => MegatronPattern.Parse(text, fold)) is not { } blocks) continue;
                read[fold ? 1 : 0]++;
                Assert.Equal(text, MegatronPattern.Print(blocks));
            }
            if (text.Contains('|') || text.Contains('/')) Assert.Null(Read(() => MegatronPattern.Parse(text)));
        });
        Assert.All(read, count => Assert.True(count > 0));
    }

    [Fact]
    public void Blocks_that_a_foreign_notation_prints_are_read_back_from_it()
    {
        var printed = new int[2];
        Blocks(block).Each(Samples, blocks =>
        {
            // one residual layer after the other: folding joins what was one block
            if (Read(() => MegatronPattern.Print(blocks)) is { } text)
            {
                printed[0]++;
                Assert.Equal(text, MegatronPattern.Print(MegatronPattern.Parse(text)));
                Assert.Equal(text, MegatronPattern.Print(MegatronPattern.Parse(text, fold: true)));
            }
            if (Read(() => LayerTypes.Print(blocks).ToArray()) is { } words)
            {
                printed[1]++;
                Assert.Equal(words, LayerTypes.Print(LayerTypes.Parse(words)));
            }
        });
        Assert.All(printed, count => Assert.True(count > 0));
    }

    [Fact]
    public void Any_words_are_layer_types_or_are_refused()
    {
        int read = 0;
        Gen.Frequency((20, Gen.OneOf("full_attention", "sliding_attention", "linear_attention", "hybrid", "conv", "mlp", "moe")),
            (1, Gen.OneOf("attention", "mamba", "recurrent", "", "Full_Attention", "\ud800")))
            .Array[0, 40].Each(Samples, words =>
            {
                if (Read(() => LayerTypes.Parse(words)) is not { } blocks) return;
                read++;
                Assert.Equal(words.Select(word =>
                    word switch { "attention" => "full_attention", "mamba" or "recurrent" => "linear_attention", _ => word }),
                    LayerTypes.Print(blocks));
            });
        Assert.True(read > 0);
    }

    [Fact]
    public void Any_period_gives_blocks_that_say_it_again_or_is_refused()
    {
        int read = 0;
        Gen.Select(Gen.Int[-1, 80], Gen.Int[-1, 20], Gen.Int[-1, 20], Gen.Int[-1, 4], Gen.Int[-1, 4],
            (depth, period, offset, experts, expertOffset) => new PeriodPattern(depth, period, offset, experts, expertOffset))
            .Each(Samples, pattern =>
            {
                if (Read(pattern.Blocks) is not { } blocks) return;
                read++;
                Assert.Equal(pattern.Depth, blocks.Count);
                // less than two periods may be said otherwise too
                if (PeriodPattern.From(blocks) is { } again) Assert.Equal(blocks, again.Blocks());
                else Assert.True(blocks.All(block => block.Mixer != "T") || blocks.All(block => block.Mixer == "T"), pattern.ToString());
            });
        Assert.True(read > 0);
    }

    [Fact]
    public void Any_indices_of_attention_are_given_back_or_refused()
    {
        int read = 0;
        Gen.Select(Gen.Int[-1, 70], Gen.Int[-1, 70].Array[0, 12]).Each(Samples, given =>
        {
            var (depth, indices) = given;
            if (Read(() => AttentionIndices.Parse(depth, indices)) is not { } blocks) return;
            read++;
            Assert.Equal(depth, blocks.Count);
            Assert.Equal(indices.Order(), AttentionIndices.Print(blocks));
        });
        Assert.True(read > 0);
    }

    [Fact]
    public void Any_blocks_are_a_shortest_unit_repeated() =>
        Gen.Select(Blocks(block), Gen.Int[1, 6]).Each(Samples, given =>
        {
            var (unit, repeat) = given;
            var whole = Enumerable.Repeat(unit, repeat).SelectMany(blocks => blocks).ToEquatableList();
            var found = RepeatedPattern.From(whole);
            Assert.Equal(whole, found.Blocks());
            Assert.True(found.Unit.Count <= unit.Count);
        });

    [Fact]
    public void Any_names_of_blocks_are_repeated_to_the_depth_or_refused()
    {
        var kinds = new Dictionary<string, string> { ["attn"] = "T", ["ssm"] = "M", ["bare"] = "m~", ["two"] = "MM", ["none"] = "" };
        int read = 0;
        Gen.Select(Gen.Int[-1, 40], Gen.Frequency((20, Gen.OneOf("attn", "ssm", "bare")), (1, Gen.OneOf("two", "none", "other"))).Array[0, 5])
            .Each(Samples, given =>
        {
            var (depth, names) = given;
            if (Read(() => RepeatedPattern.Parse(depth, names, kinds)) is not { } blocks) return;
            read++;
            Assert.Equal(Enumerable.Range(0, depth).Select(i => kinds[names[i % names.Length]]), blocks.Select(block => block.ToString()));
        });
        Assert.True(read > 0);
    }
}
