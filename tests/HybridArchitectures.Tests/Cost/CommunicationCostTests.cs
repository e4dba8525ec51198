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
        Assert.StartsWith("name is \"rope\"; expected one of NVLink, ", Assert.Throws<ArgumentException>(() => Interconnect.Get("rope")).Message);
    }
}
