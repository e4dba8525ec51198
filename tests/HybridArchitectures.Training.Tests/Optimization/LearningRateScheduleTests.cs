using System.Text.Json;
using HybridArchitectures.Training.Optimization;

namespace HybridArchitectures.Training.Tests.Optimization;

public class LearningRateScheduleTests
{
    static double[] Rates(LearningRateSchedule schedule, int steps, double peak = 1) =>
        Enumerable.Range(0, steps).Select(step => peak * schedule.Factor((double)step / steps, 1.0 / steps)).ToArray();

    [Fact]
    public void Cosine_rates_are_those_of_a_run_recorded_with_PyTorch()
    {
        var recorded = JsonDocument.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Optimization", "trajectory.json"))).RootElement;
        int steps = recorded.GetProperty("steps").GetInt32();
        double peak = recorded.GetProperty("peak_lr").GetDouble();
        var schedule = new CosineSchedule { WarmUp = recorded.GetProperty("warm_up").GetDouble() / steps,
            Floor = recorded.GetProperty("floor_lr").GetDouble() / peak };
        var expected = recorded.GetProperty("lr").EnumerateArray().Select(item => item.GetDouble()).ToArray();
        var rates = Rates(schedule, steps, peak);
        for (int i = 0; i < steps; i++) Assert.Equal(expected[i], rates[i], 1e-15);
    }

    [Fact]
    public void A_trapezoid_rises_stays_and_falls()
    {
        Assert.Equal([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25],
            Rates(new TrapezoidSchedule { WarmUp = 0.2, CoolDown = 0.2 }, 20).Select(rate => Math.Round(rate, 12)));
        Assert.Equal(0.1, new TrapezoidSchedule { Floor = 0.1 }.Factor(1), 1e-12);
        Assert.Equal(0, new TrapezoidSchedule().Factor(1), 1e-12);
    }

    [Fact]
    public void A_line_falls_evenly()
    {
        Assert.Equal([0.5, 1, 1, 0.75, 0.5, 0.25], Rates(new LinearSchedule { WarmUp = 1.0 / 3 }, 6).Select(rate => Math.Round(rate, 12)));
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 0)]
    [InlineData(0.5, 0.5)]
    [InlineData(0, 1)]
    [InlineData(0.3, 0.7)]
    [InlineData(0.1, 0.2)]
    public void No_rate_leaves_its_range_at_any_step(double warmUp, double coolDown)
    {
        foreach (LearningRateSchedule schedule in new LearningRateSchedule[]
            { new TrapezoidSchedule { WarmUp = warmUp, CoolDown = coolDown }, new CosineSchedule { WarmUp = warmUp, Floor = 0.1 },
                new LinearSchedule { WarmUp = warmUp } })
            foreach (int steps in new[] { 1, 2, 3, 7, 49, 1000 })
                Assert.All(Rates(schedule, steps), rate => Assert.InRange(rate, 0, 1));
    }

    [Fact]
    public void Impossible_shares_are_refused_by_name()
    {
        void Refused(LearningRateSchedule schedule, string name) =>
            Assert.Equal(name, Assert.Throws<ArgumentOutOfRangeException>(() => schedule.Factor(0.5)).ParamName);
        Refused(new TrapezoidSchedule { WarmUp = double.NaN }, "WarmUp");
        Refused(new TrapezoidSchedule { WarmUp = 0.5, CoolDown = 0.6 }, "CoolDown");
        Refused(new CosineSchedule { Floor = -0.1 }, "Floor");
        Refused(new LinearSchedule { WarmUp = 1.5 }, "WarmUp");
        Assert.Equal("progress", Assert.Throws<ArgumentOutOfRangeException>(() => new LinearSchedule().Factor(1.01)).ParamName);
        Assert.Equal("progress", Assert.Throws<ArgumentOutOfRangeException>(() => new LinearSchedule().Factor(double.NaN)).ParamName);
    }

    [Fact]
    public void A_schedule_survives_json()
    {
        LearningRateSchedule schedule = new TrapezoidSchedule { WarmUp = 0.1, CoolDown = 0.3, Floor = 0.05 };
        Assert.Equal(schedule, JsonSerializer.Deserialize<LearningRateSchedule>(JsonSerializer.Serialize(schedule)));
    }
}
