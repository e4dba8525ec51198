using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Cost;

public sealed class CommunicationCostTests
{
    static readonly DesignCost Cost = HybridDesign.Create(32, 100).WithAttention(4, 2).WithMamba2(stateSize: 16, headSize: 8)
        .WithFeedForward(FeedForwardSpec.SwiGlu(64)).Depth(3).Place(2).Build().Cost(64);

    [Fact]
    public void Ranks_send_the_bytes_of_a_ring()
    {
        var link = new Interconnect("test", 1e9, 1e-3);
        var cost = Cost.Communication(4, link, tokensPerRank: 1000, flopsPerSecond: 1e9);
        double bytes = 2 * 3 / 4.0 * 4 * Cost.Parameters.Total;
        Assert.Equal(bytes, cost.Bytes);
        Assert.Equal(bytes / 1e9 + 6e-3, cost.Seconds, 1e-12);
        Assert.Equal(1000 * Cost.Flops(FlopAccounting.MatrixProducts).Training / 1e9, cost.ComputeSeconds, 1e-12);
        Assert.Equal(cost.ComputeSeconds / (cost.ComputeSeconds + cost.Seconds), cost.Efficiency, 1e-12);
    }

    [Fact]
    public void Fully_sharded_ranks_gather_blocks_twice_per_pass_and_divide_gradients_once()
    {
        var link = new Interconnect("test", 1e9, 1e-3);
        var cost = Cost.FullyShardedCommunication(4, link, tokensPerRank: 1000, passes: 2, flopsPerSecond: 1e9);
        double blocks = Cost.Parameters.Blocks.Sum(block => block.Total), rest = Cost.Parameters.Total - blocks;
        // the parameters of the last block stay gathered between its passes
        double bytes = 4 * 3 / 4.0 * (2 * (3 * blocks - Cost.Parameters.Blocks[^1].Total) + 2 * rest);
        Assert.Equal(bytes, cost.Bytes, 1e-6);
        Assert.Equal(bytes / 1e9 + 3e-3 * (2 * 8 + 2), cost.Seconds, 1e-12);
        Assert.Equal(cost.ComputeSeconds, cost.OverlapSeconds);
        Assert.Equal((0.0, 1.0), (Cost.FullyShardedCommunication(1, link, 1000).Bytes, Cost.FullyShardedCommunication(1, link, 1000).Efficiency));
    }

    [Fact]
    public void Hybrid_ranks_sum_their_shares_over_machines()
    {
        var (within, between) = (new Interconnect("within", 1e9, 1e-3), new Interconnect("between", 1e8, 1e-2));
        var cost = Cost.HybridCommunication(3, 4, within, between, 1000);
        var (inner, outer) = (Cost.FullyShardedCommunication(4, within, 1000), Cost.Communication(3, between, 1000));
        Assert.Equal(12, cost.Ranks);
        Assert.Equal(inner.Bytes + outer.Bytes / 4, cost.Bytes, 1e-6);
        Assert.Equal(inner.Seconds + outer.Seconds, cost.Seconds, 1e-12);
        Assert.Equal(Cost.Communication(3, between, 1000).Seconds, Cost.HybridCommunication(3, 1, within, between, 1000).Seconds, 1e-12);
    }

    [Fact]
    public void Communication_that_fits_under_computation_can_be_hidden()
    {
        var slow = Cost.Communication(4, new Interconnect("test", 1e6, 0), tokensPerRank: 1000, flopsPerSecond: 1e9);
        Assert.Equal(slow.ComputeSeconds * 2 / 3, slow.OverlapSeconds, 1e-12);
        Assert.Equal(slow.ComputeSeconds / (slow.ComputeSeconds + Math.Max(0, slow.Seconds - slow.OverlapSeconds)), slow.OverlappedEfficiency, 1e-12);
        Assert.Equal(1, Cost.Communication(4, new Interconnect("test", 1e15, 0), 1000).OverlappedEfficiency);
    }

    [Fact]
    public void Full_sharding_divides_all_that_is_not_gathered()
    {
        var memory = Cost.TrainingMemory();
        var sharded = memory.WithFullSharding(Cost.Design, 1000);
        var count = Cost.Parameters;
        long blocks = count.Blocks.Sum(block => block.Total);
        long gatheredBlocks = count.Blocks.Select(block => block.Total).OrderDescending().Take(2).Sum();
        Assert.Equal((memory.Parameters + 999) / 1000 + 4 * (count.Total - blocks + gatheredBlocks), sharded.Parameters);
        Assert.Equal(sharded.Parameters, sharded.Gradients);
        Assert.Equal((memory.Optimizer + 999) / 1000, sharded.Optimizer);
        Assert.Equal((memory.Activations, memory.Loss), (sharded.Activations, sharded.Loss));
        Assert.StartsWith("ranks is 0; expected at least 1.",
            Assert.Throws<ArgumentOutOfRangeException>(() => memory.WithFullSharding(Cost.Design, 0)).Message);
    }

    [Fact]
    public void Full_sharding_saves_weight_copies_for_a_pass_instead_of_keeping_them()
    {
        var (design, count) = (Cost.Design, Cost.Parameters);
        long blocks = 2 * count.Blocks.Sum(block => block.Total), head = 2 * count.Embedding;
        var memory = TrainingMemory.FromDesign(design, 64);
        Assert.Equal((blocks + head, blocks), (memory.WeightCopies, memory.WithFullSharding(design, 4).WeightCopies));
        // a checkpointed block casts its weights when it is computed again
        var checkpointed = TrainingMemory.FromDesign(design, 64, checkpointing: true);
        Assert.Contains(checkpointed.WeightCopies, count.Blocks.Select(block => 2 * block.Total));
        Assert.Equal(checkpointed.WeightCopies, checkpointed.WithFullSharding(design, 4).WeightCopies);
        var single = TrainingMemory.FromDesign(design, 64, elementSize: 4);
        Assert.Equal((0, 0), (single.WeightCopies, single.WithFullSharding(design, 4).WeightCopies));
    }

    [Fact]
    public void One_rank_sends_nothing()
    {
        var cost = Cost.Communication(1, Interconnect.Get("nvlink"), 1000);
        Assert.Equal((0.0, 0.0, 1.0), (cost.Bytes, cost.Seconds, cost.Efficiency));
    }

    [Fact]
    public void Efficiency_falls_with_ranks_and_slower_connections()
    {
        var design = Recipes.Get("1B-inter-1:5").Design.Cost(8192);
        double Efficiency(int ranks, string link) => design.Communication(ranks, Interconnect.Get(link), 65536).Efficiency;
        Assert.InRange(Efficiency(8, "NVLink"), 0.97, 0.999);
        Assert.InRange(Efficiency(1024, "InfiniBand"), 0.9, Efficiency(64, "InfiniBand"));
        Assert.InRange(Efficiency(8, "Ethernet-10G"), 0.01, 0.3);
        Assert.Contains("efficiency 0.9", design.Communication(8, Interconnect.Get("NVLink"), 65536).ToString());
    }

    [Fact]
    public void A_sharded_optimizer_divides_only_its_state()
    {
        var memory = Cost.TrainingMemory();
        var sharded = memory.WithShardedOptimizer(4);
        Assert.Equal(memory.Optimizer / 4, sharded.Optimizer);
        Assert.Equal(memory.Total - memory.Optimizer, sharded.Total - sharded.Optimizer);
    }

    [Fact]
    public void Arguments_that_do_not_fit_are_named()
    {
        var link = Interconnect.Get("NVLink");
        var refused = Assert.Throws<ArgumentOutOfRangeException>(() => Cost.Communication(0, link, 1));
        Assert.StartsWith("ranks is 0; expected at least 1.", refused.Message);
        Assert.StartsWith("tokensPerRank is 0; expected at least 1.",
            Assert.Throws<ArgumentOutOfRangeException>(() => Cost.Communication(1, link, 0)).Message);
        Assert.StartsWith("passes is 0; expected at least 1.",
            Assert.Throws<ArgumentOutOfRangeException>(() => Cost.FullyShardedCommunication(2, link, 1, 0)).Message);
        Assert.StartsWith("machines is 0; expected at least 1.",
            Assert.Throws<ArgumentOutOfRangeException>(() => Cost.HybridCommunication(0, 2, link, link, 1)).Message);
        Assert.StartsWith("name is \"rope\"; expected one of NVLink, ", Assert.Throws<ArgumentException>(() => Interconnect.Get("rope")).Message);
    }
}
