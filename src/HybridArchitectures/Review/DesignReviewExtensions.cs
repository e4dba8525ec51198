using HybridArchitectures.Design;

namespace HybridArchitectures.Review;

/// <summary>Reviews designs: <c>design.Review()</c>. The rules are <see cref="DesignRules"/>.</summary>
public static class DesignReviewExtensions
{
    /// <summary>Reviews a design, and returns its known weaknesses with evidence and remedy.</summary>
    /// <param name="design">A complete design.</param>
    /// <param name="options">The intended use of the design, or null for the defaults.</param>
    /// <exception cref="ArgumentException">A model of the design is not possible, or an option is out of range.</exception>
    public static DesignReview Review(this HybridDesign design, ReviewOptions? options = null) => new(design, options);

    /// <summary>
    /// Reviews the design of a builder. The design may be one that cannot be built because groups do not divide heads, or because a chunk size is not
    /// a power of two. The findings then state the remedy, and <see cref="DesignReview.Design"/> is the reviewed design.
    /// </summary>
    /// <param name="builder">The builder.</param>
    /// <param name="options">The intended use of the design, or null for the defaults.</param>
    /// <exception cref="ArgumentException">The design cannot be built for another reason, or an option is out of range.</exception>
    public static DesignReview Review(this HybridDesignBuilder builder, ReviewOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return new(builder.Draft(), options);
    }
}
