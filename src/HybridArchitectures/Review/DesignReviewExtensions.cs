using HybridArchitectures.Design;

namespace HybridArchitectures.Review;

/// <summary>Reviews designs: <c>design.Review()</c>. The rules are <see cref="DesignRules"/>.</summary>
public static class DesignReviewExtensions
{
    /// <summary>Returns what is known to go wrong with designs like this one, with evidence and remedy.</summary>
    /// <param name="design">A complete design.</param>
    /// <param name="options">What the design is for; null takes the defaults.</param>
    /// <exception cref="ArgumentException">No model can be made of the design, or an option is out of range.</exception>
    public static DesignReview Review(this HybridDesign design, ReviewOptions? options = null) => new(design, options);

    /// <summary>
    /// Returns what is known to go wrong with the design that a builder makes, also where it cannot be built because groups do not divide heads or
    /// chunks are no power of two: the findings then state the remedy, and <see cref="DesignReview.Design"/> is the reviewed design.
    /// </summary>
    /// <param name="builder">The builder.</param>
    /// <param name="options">What the design is for; null takes the defaults.</param>
    /// <exception cref="ArgumentException">The design cannot be built for another reason, or an option is out of range.</exception>
    public static DesignReview Review(this HybridDesignBuilder builder, ReviewOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return new(builder.Draft(), options);
    }
}
