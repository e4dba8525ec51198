using HybridArchitectures.Cost;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Cost;

public class CostTests
{
    static HybridDesign Small(int length = 3, int feedForward = 64) =>
        HybridDesign.Create(32, 100).WithAttention(4, 2).WithMamba2(stateSize: 16, headSize: 8)
        .WithFeedForward(FeedForwardSpec.SwiGlu(feedForward)).Depth(length).Place(2).Build();

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Cache_bytes_equal_those_of_a_real_cache(string name)
    {
        var design = TinyDesigns.Get(name);
        if (design.Blocks.Any(block => block.Mixer is CustomMixerSpec))
            design = design with { Blocks = [.. design.Blocks.Where(block => block.Mixer is not CustomMixerSpec)] };
        foreach (var (type, size) in ((ScalarType, int)[])[(ScalarType.Float32, 4), (ScalarType.BFloat16, 2)])
        {
            using var scope = NewDisposeScope();
            using var model = design.CreateModel(type, seed: 1);
            using var cache = model.CreateCache(2);
            Assert.Equal(CacheSize.FromDesign(design, 0, 2, size).Total, cache.Bytes);
            model.Forward(zeros([2, 9], ScalarType.Int64), new SequenceContext(cache: cache));
            Assert.Equal(CacheSize.FromDesign(design, 9, 2, size).Total, cache.Bytes);
        }
    }

    [Fact]
    public void Cache_grown_token_by_token_holds_at_most_half_more_keys_and_values()
    {
        using var scope = NewDisposeScope();
        var design = Small();
        using var model = design.CreateModel(seed: 1);
        using var cache = model.CreateCache(1);
        for (int length = 1; length <= 20; length++)
        {
            model.Forward(zeros([1, 1], ScalarType.Int64), new SequenceContext(cache: cache));
            var size = CacheSize.FromDesign(design, length, 1, 4);
            Assert.InRange(cache.Bytes, size.Total, size.Total + size.KeysAndValues / 2);
        }
    }

    [Fact]
    public void Kinds_of_state_add_up()
    {
        var design = HybridDesign.Create(64, 100).WithAttention(4, 2).WithSlidingWindow(8, 2).WithMamba2(stateSize: 16, headSize: 16).Pattern("TSM")
            .Build();
        var size = CacheSize.FromDesign(design, 100, batch: 3, elementSize: 2);
        Assert.Equal(3 * 100 * (2 * 16 + 2 * 16) * 2, size.KeysAndValues);
        Assert.Equal(3 * 11 * ((2 * 16 + 2 * 16) * 2 + 8), size.Windows);
        Assert.Equal(3 * 128 * 16 * 4, size.Scans);
        Assert.Equal(3 * 3 * (128 + 32) * 2, size.Convolutions);
        Assert.Equal(size.KeysAndValues + size.Windows + size.Scans + size.Convolutions, size.Total);
    }

    [Theory, MemberData(nameof(TinyDesigns.Names), MemberType = typeof(TinyDesigns))]
    public void Products_with_weights_are_those_of_the_matrices_of_the_real_model(string name)
    {
        var design = TinyDesigns.Get(name);
        if (design.Blocks.Any(block => block.Mixer is CustomMixerSpec)) return;    // counted from all its parameters
        using var model = design.CreateModel(seed: 1);
        double weights = 0;
        foreach (var (parameter, value, _) in model.AllParameters())
        {
            long entries = value.NumberOfElements;
            if (value.dim() < 2 || parameter.Contains("conv_") || parameter.EndsWith("A_log", StringComparison.Ordinal)) continue;
            // biases per head, and the six scales of RWKV-7's shift
            if (parameter.EndsWith("_bias", StringComparison.Ordinal) || parameter.EndsWith(".mix", StringComparison.Ordinal)) continue;
            // experts, of which a token uses some; the matrices of an RG-LRU's heads are all used
            if (value.dim() == 3 && !parameter.Contains("gate_weight"))
            {
                var experts = design.Blocks.Select(block => block.FeedForward).OfType<MixtureOfExpertsSpec>().First();
                entries = entries / experts.Experts * experts.ExpertsPerToken;
            }
            // an embedding is looked up; a separate or tied head is one product
            if (!design.TiedHead && parameter.Contains("embedding")) continue;
            // shared weights are multiplied with once a use
            if (parameter.StartsWith("stack.shared.", StringComparison.Ordinal))
                entries *= design.Blocks.Count(
                    block => block.Shared is { } use && parameter.StartsWith($"stack.shared.{use.Transformer}.", StringComparison.Ordinal));
            weights += entries;
        }
        // one key, which every query head meets
        double sharedMixing = design.Blocks.Where(block => block.Shared is not null)
            .Select(block => design.SharedTransformers[block.Shared!.Transformer].Attention)
            .Sum(attention => 2.0 * attention.Heads * (attention.HeadSize + attention.ValueHeadSize));
        var flops = FlopCount.OfStep(design, 0, FlopAccounting.MatrixProducts);
        Assert.Equal(2 * weights, flops.Forward - flops.Blocks.Sum(block => block.Mixing) - sharedMixing, 0.5);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(7)]
    [InlineData(40)]
    public void Attention_counts_the_keys_its_mask_shows(int length)
    {
        var spec = new AttentionSpec { Heads = 4, KeyValueHeads = 2, HeadSize = 8, ValueHeadSize = 4, Window = 5, Sinks = 2 };
        var design = HybridDesign.Create(32, 100).WithSlidingWindow(spec).Depth(1).Build();
        double visible = 0, last = 0;
        for (int i = 0; i < length; i++)
        {
            last = Enumerable.Range(0, i + 1).Count(j => i - j < 5 || j < 2);
            visible += last;
        }
        double perKey = 2 * (4 * 8 + 4 * 4);
        foreach (var accounting in Enum.GetValues<FlopAccounting>())
        {
            Assert.Equal(perKey * visible / length, FlopCount.OfText(design, length, accounting).Blocks[0].Mixing, 1e-6);
            Assert.Equal(perKey * last, FlopCount.OfStep(design, length - 1, accounting).Blocks[0].Mixing, 1e-6);
        }
    }

    [Fact]
    public void Training_is_three_forward_passes_and_checkpointing_adds_the_blocks_without_their_last_product()
    {
        var flops = Small().Cost(128).Flops(FlopAccounting.MatrixProducts);
        Assert.Equal(3 * flops.Forward, flops.Training);
        Assert.Equal(4 * flops.Forward - flops.Head - 3 * 2 * 32 * 64, flops.CheckpointedTraining, 1e-6);
    }

    [Fact]
    public void Parameters_gradients_and_moments_are_those_of_the_model()
    {
        using var model = Small().CreateModel(seed: 1);
        long bytes = model.AllParameters().Sum(parameter => parameter.Value.NumberOfElements * parameter.Value.ElementSize);
        var memory = Small().Cost(64).TrainingMemory();
        Assert.Equal((bytes, bytes, 2 * bytes), (memory.Parameters, memory.Gradients, memory.Optimizer));
    }

    [Theory]
    [InlineData(24, 2, DeviceType.CUDA, true), InlineData(24, 4, DeviceType.CUDA, false), InlineData(24, 2, DeviceType.CPU, false)]
    [InlineData(20, 2, DeviceType.CUDA, false)]
    public void Gradients_of_experts_take_half_the_memory_in_bfloat16_on_a_GPU_for_one_pass(
        int expertWidth, int elementSize, DeviceType device, bool areNarrow)
    {
        var experts = FeedForwardSpec.MixtureOfExperts(3, 1, expertWidth, sharedExperts: 1);
        var design = HybridDesign.Create(32, 40).WithAttention(2, 1).WithFeedForward(experts).Pattern("TT").Build();
        var memory = TrainingMemory.FromDesign(design, 64, elementSize: elementSize, device: device);
        long narrow = areNarrow ? 2 * 2 * 3 * (3 * 32 * expertWidth) : 0;       // bytes, blocks, experts
        Assert.Equal(memory.Parameters - narrow, memory.Gradients);
        Assert.Equal(memory.Parameters, memory.WithSummedGradients().Gradients);
        Assert.Equal(memory.Total + narrow, memory.WithSummedGradients().Total);
        Assert.Equal(memory.WithSummedGradients(), memory.WithSummedGradients().WithSummedGradients());
        Assert.Equal(memory.Parameters, memory.WithShardedOptimizer(2).Gradients);
        Assert.Equal(memory.WithSummedGradients().WithFullSharding(design, 2), memory.WithFullSharding(design, 2));
    }

    [Theory]
    [InlineData("1B-inter-1:5", 2)]
    [InlineData("1B-llama", 2)]
    [InlineData("1B-mamba", 1)]
    public void The_last_blocks_save_their_activations_where_gradients_will_be(string recipe, int rows)
    {
        var cost = Recipes.Get(recipe).Design.Cost(8192);
        int blocks = cost.Design.Blocks.Count, free = TrainingMemory.CountFreeBlocks(cost.Design, 8192, rows);
        Assert.InRange(free, 1, blocks - 1);
        var (none, most) = (cost.TrainingMemory(rows, checkpointing: true), cost.TrainingMemory(rows, checkpointing: true, savedBlocks: free));
        Assert.Equal(none, most with { EarlyActivations = 0 });
        Assert.True(none.WithSummedGradients().Total < most.WithSummedGradients().Total);
        Assert.True(none.Total < cost.TrainingMemory(rows, checkpointing: true, savedBlocks: free + 1).Total);
        Assert.True(none.Total < cost.TrainingMemory(rows, checkpointing: true, savedBlocks: blocks).Total);
        Assert.True(TrainingMemory.CountFreeBlocks(cost.Design, 8192, rows, summed: true) < free);
        Assert.True(TrainingMemory.CountFreeBlocks(cost.Design, 8192, 8 * rows) < free);
    }

    /// <summary>Counts what a pass adds and removes, in its order.</summary>
    static double PeakOfPass(CheckpointMemory memory, int saving, bool summed)
    {
        var (held, peak, count) = (summed ? memory.Gradients.Sum() : 0, 0.0, memory.Again.Length);
        void Add(double bytes) => peak = Math.Max(peak, held += bytes);
        bool Saves(int block) => block >= count - saving;
        for (int block = 0; block < count; block++) Add(Saves(block) ? memory.Saved[block] : memory.Input);
        if (saving > 0) Add(memory.Loss);
        held -= saving > 0 ? memory.Loss : 0;
        for (int block = count - 1; block >= 0; block--)
        {
            Add(Saves(block) ? 0 : memory.Again[block] - memory.Input);
            held -= Saves(block) ? memory.Saved[block] : memory.Again[block];
            if (!summed) held += memory.Gradients[block];
        }
        return peak;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_peak_with_checkpointing_is_that_of_a_pass_counted_block_by_block(bool summed)
    {
        var random = new Random(3);
        double[] Bytes(int count, int least) => [.. Enumerable.Range(0, count).Select(_ => (double)random.Next(least, least + 40))];
        for (int trial = 0; trial < 200; trial++)
        {
            int count = random.Next(1, 9);
            var memory = new CheckpointMemory(3, Bytes(count, 3), Bytes(count, 4), Bytes(count, random.Next(60)), random.Next(30));
            double[] peaks = [.. Enumerable.Range(0, count + 1).Select(saving => PeakOfPass(memory, saving, summed))];
            for (int saving = 0; saving <= count; saving++) Assert.Equal(peaks[saving], memory.Peak(saving, summed));
            Assert.Equal(peaks.TakeWhile(peak => peak <= peaks[0]).Count() - 1, memory.MaxSaving(summed));
        }
    }

    [Fact]
    public void Checkpointing_saves_activations_and_they_grow_with_tokens()
    {
        var cost = Recipes.Get("1B-inter-1:5").Design.Cost(8192);
        var plain = cost.TrainingMemory();
        Assert.True(cost.TrainingMemory(checkpointing: true).Activations * 5 < plain.Activations);
        Assert.Equal(4 * plain.Activations, cost.TrainingMemory(batch: 4).Activations);
    }

    // 64 channels, 16 states: on a GPU the scan saves a float32 state at every 16th token, in main memory at every 32nd
    [Fact]
    public void A_selective_scan_saves_states_at_every_16th_token_on_a_GPU()
    {
        var design = HybridDesign.Create(32, 100).WithMamba1().Depth(1).Build();
        Assert.Equal(4 * 64 * 16 * (2048 / 16 - 2048 / 32), Activations(design, DeviceType.CUDA) - Activations(design, DeviceType.CPU));
    }

    // 4 heads of 64, 128 states: chunks of 64 on compute capability 9.0, whose states have the type of the activations, and three float32
    // numbers per token and head
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_state_space_dual_saves_as_much_as_its_kernel_on_a_GPU(bool states)
    {
        var design = HybridDesign.Create(128, 100).WithMamba2(stateSize: 128, headSize: 64).Depth(1).Build();
        using var options = OperatorOptions.Use(new() { SaveChunkStates = states });
        const long inMemory = 4 * 256 * 128 * (2048 / 64), numbers = 3 * 4 * 4 * 2048, onGpu = 2 * 256 * 128 * (2048 / 64);
        Assert.Equal(numbers + (states ? onGpu : 0) - inMemory, Activations(design, DeviceType.CUDA) - Activations(design, DeviceType.CPU));
    }

    [Fact]
    public void A_loss_saves_the_gradients_of_head_and_last_norm()
    {
        const long tokens = 8192, vocabulary = 128_000, width = 64;
        var cost = HybridDesign.Create((int)width, (int)vocabulary).WithMamba1().Depth(1).Build().Cost((int)tokens);
        Assert.Equal(4 * vocabulary * width + 2 * width * tokens, cost.TrainingMemory(device: DeviceType.CPU).Loss);
        Assert.Equal(4 * vocabulary * width + 2 * width * tokens, cost.TrainingMemory().Loss);
    }

    [Fact]
    public void More_than_2_GB_of_states_are_not_kept()
    {
        var cost = HybridDesign.Create(4096, 100).WithMamba2(stateSize: 128, headSize: 64).Depth(1).Build().Cost(8192);
        // 8192 channels, 128 states in bfloat16 for every 64th of 8192 tokens: 268 MB per row
        long kept = 8 * 2L * 8192 * 128 * (8192 / 64);
        Assert.Equal(kept, cost.TrainingMemory(8).Activations - 8 * (cost.TrainingMemory(9).Activations / 9), 8.0);
    }

    [Fact]
    public void Sizes_of_every_kind_have_an_estimate_on_a_GPU()
    {
        var random = new Random(1);
        for (int i = 0; i < 2000; i++)
        {
            int headSize = random.Next(1, i % 2 == 0 ? 20 : 2000), heads = random.Next(1, 9), states = random.Next(1, i % 3 == 0 ? 20 : 2000);
            var spec = new Mamba2Spec { Heads = heads, HeadSize = headSize, StateSize = states };
            var memory = TrainingMemory.FromDesign(HybridDesign.Create(8, 10).WithMamba2(spec).Depth(1).Build(), 64, elementSize: i % 5 == 0 ? 4 : 2);
            Assert.True(memory.Activations > 64L * 2 * heads * headSize * 3);
        }
    }

    static long Activations(HybridDesign design, DeviceType device) => TrainingMemory.FromDesign(design, 2048, device: device).Activations;

    [Fact]
    public void Bfloat16_products_keep_copies_of_their_weights()
    {
        var design = Small();
        var count = design.CountParameters();
        long Copies(bool checkpointing, DeviceType device) =>
            design.Cost(64).TrainingMemory(checkpointing: checkpointing, device: device).WeightCopies;
        Assert.Equal(2 * count.Blocks.Sum(block => block.Total), Copies(false, DeviceType.CPU));
        Assert.Equal(2 * count.Blocks.Max(block => block.Total), Copies(true, DeviceType.CPU));
        Assert.Equal(0, design.Cost(64).TrainingMemory(elementSize: 4).WeightCopies);
    }

    [Fact]
    public void On_a_gpu_the_optimizer_keeps_the_copies_of_all_weights_except_with_checkpointing()
    {
        var experts = new MixtureOfExpertsSpec { Experts = 8, ExpertsPerToken = 2, ExpertWidth = 48 };
        var design = HybridDesign.Create(64, 100).WithAttention(4, 2).WithFeedForward(experts).Depth(3).Build();
        var count = design.CountParameters();
        long all = count.Blocks.Sum(block => block.Total) + count.Embedding;
        Assert.Equal(2 * all, design.Cost(64).TrainingMemory().WeightCopies);
        Assert.Equal(2 * count.Blocks.Max(block => block.Total), design.Cost(64).TrainingMemory(checkpointing: true).WeightCopies);
    }

    [Fact]
    public void With_checkpointing_the_block_that_counts_is_the_worst_with_the_inputs_before_it()
    {
        var start = HybridDesign.Create(64, 100).WithAttention(4, 2).WithMamba2(stateSize: 128, headSize: 16).WithFeedForward(FeedForwardSpec.None);
        long Held(string pattern) => start.Pattern(pattern).Build().Cost(256).TrainingMemory(elementSize: 4, checkpointing: true).Activations;
        const long input = 64 * 4 * 256;
        Assert.Equal(Held("M"), Held("MTTT"));
        Assert.Equal(Held("M") + 3 * input, Held("TTTM"));
    }

    [Fact]
    public void Decode_time_is_bytes_over_bandwidth()
    {
        var design = Recipes.Get("1B-llama").Design;
        var accelerator = Accelerator.Get("h200");
        var step = design.Cost(8192).Decode(accelerator);
        Assert.Equal(2.0 * design.CountParameters().Total, step.WeightBytes);
        Assert.Equal(256.0 * 1048576 * 8193 / 8192, step.CacheBytes, 1.0);
        Assert.Equal(step.Bytes / 4.8e12, step.Seconds);
        Assert.Equal(4 * step.CacheBytes, design.Cost(8192).Decode(accelerator, batch: 4).CacheBytes, 1.0);
    }

    // bandwidth is bits of the bus times bits per second and pin
    [Theory]
    [InlineData("B200", 7680, 2 * 3.996)]
    [InlineData("A100-80GB", 5120, 3.186)]
    [InlineData("A100-40GB", 5120, 2.43)]
    [InlineData("RTX-5090", 512, 28)]
    [InlineData("RTX-4090", 384, 21)]
    [InlineData("RTX-3090", 384, 19.5)]
    public void Bandwidths_of_GPUs_follow_from_bus_and_memory_clock(string name, int bits, double gigabits) =>
        Assert.Equal(bits / 8.0 * gigabits, Accelerator.Get(name).Bandwidth / 1e9, 0.001 * Accelerator.Get(name).Bandwidth / 1e9);

    [Fact]
    public void Every_known_GPU_names_its_source() =>
        Assert.All(Accelerator.Known, accelerator => Assert.False(string.IsNullOrWhiteSpace(accelerator.Source)));

    [Fact]
    public void Decode_reads_the_experts_a_batch_visits()
    {
        var design = Recipes.Get("1B-llama-moe").Design;
        var count = design.CountParameters();
        Assert.Equal(2.0 * count.Active, DecodeCost.FromDesign(design, 0, Accelerator.Get("H200")).WeightBytes, 1.0);
        double many = DecodeCost.FromDesign(design, 0, Accelerator.Get("H200"), batch: 1000).WeightBytes;
        Assert.InRange(many, 2.0 * count.Total * 0.999, 2.0 * count.Total);
    }

    [Fact]
    public void Bad_numbers_are_refused_by_name()
    {
        var design = Small();
        Assert.Equal("sequenceLength", Assert.ThrowsAny<ArgumentException>(() => design.Cost(0)).ParamName);
        Assert.Equal("batch", Assert.ThrowsAny<ArgumentException>(() => design.Cost(8).Cache(0)).ParamName);
        Assert.Equal("device", Assert.ThrowsAny<ArgumentException>(() => design.Cost(8).TrainingMemory(device: DeviceType.MPS)).ParamName);
        foreach (int count in (int[])[-1, design.Blocks.Count + 1])
            Assert.Equal("savedBlocks", Assert.ThrowsAny<ArgumentException>(() => design.Cost(8).TrainingMemory(savedBlocks: count)).ParamName);
        Assert.Equal("elementSize", Assert.ThrowsAny<ArgumentException>(() => design.Cost(8).TrainingMemory(1, 3)).ParamName);
        Assert.Contains("H200", Assert.ThrowsAny<ArgumentException>(() => Accelerator.Get("H9")).Message);
    }

    [Fact]
    public void Mixers_of_users_count_by_their_own_figures()
    {
        var design = HybridDesign.Create(16, 10).WithMixer(new CountedSpec()).Depth(2).Build();
        Assert.Equal(2 * 3 * 7L, CacheSize.FromDesign(design, 7).Other);
        Assert.Equal(16 * 4, FlopCount.OfText(design, 7).Blocks[0].Mixing);
    }
}
